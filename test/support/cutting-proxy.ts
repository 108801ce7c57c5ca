// Between a client and the server: loses what it is told to.
import { createConnection, createServer, type Socket } from 'node:net'

export interface CuttingProxy {
  readonly url: string
  close(): void
}

/** `lose` says what becomes of the n-th connection. */
export async function startCuttingProxy(
  upstreamUrl: string,
  lose: (connection: number) => 'request' | 'answer' | 'nothing',
): Promise<CuttingProxy> {
  const target = new URL(upstreamUrl)
  let connections = 0
  const server = createServer((client: Socket) => {
    const fate = lose(++connections)
    const upstream = createConnection(Number(target.port), target.hostname)
    const both = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.on('error', both).on('close', both)
    if (fate === 'request') client.on('data', both)
    else client.pipe(upstream)
    if (fate === 'answer') upstream.on('data', both)
    else upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    close: () => server.close(),
  }
}
