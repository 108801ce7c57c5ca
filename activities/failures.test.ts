import { expect, test } from 'vitest'
import { withTypedFailures } from './failures.ts'
import { ServerRefusal } from './host/server.ts'

test('what the server refuses is tried a few times and no more', async () => {
  const refuse = () => Promise.reject(new ServerRefusal(400, 'events: not like this'))
  await expect(withTypedFailures(1, refuse)).rejects.toMatchObject({ nonRetryable: false, nextRetryDelay: '2s' })
  await expect(withTypedFailures(4, refuse)).rejects.toMatchObject({ nonRetryable: true, type: 'ServerRefusal' })
})
