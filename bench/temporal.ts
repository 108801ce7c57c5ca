// A client of the Temporal server that a stack has brought up.
import { Client, Connection } from '@temporalio/client'
import type { Stack } from '../test/support/stack.ts'

export const NAMESPACE = 'default'

export const temporalAddress = ({ env }: Stack): string => `127.0.0.1:${env.AMBIENT_TEMPORAL_PORT}`

export function temporalClient(stack: Stack, cleanUp: AsyncDisposableStack): Client {
  const connection = Connection.lazy({ address: temporalAddress(stack) })
  cleanUp.defer(() => connection.close())
  return new Client({ connection, namespace: NAMESPACE })
}
