import type { z } from 'zod'
import type { PostProgress } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import type { ApiDeps } from '../deps.ts'
import { onceForRun } from './once.ts'

export const postProgress = (
  { db }: ApiDeps,
  holder: CredentialHolder,
  args: z.infer<typeof PostProgress>,
): Promise<string> =>
  onceForRun(db, holder, 'post_progress', args, async ({ tell }) => {
    const { message, percent } = args
    await tell('progress', { message, ...(percent === undefined ? {} : { percent }) })
    return 'The user has been told.'
  })
