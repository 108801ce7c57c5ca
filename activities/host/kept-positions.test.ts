import { expect, test } from 'vitest'
import { keepPositions } from './kept-positions.ts'
import type { HostServer } from './server.ts'

const never = new AbortController().signal

test('how far a journal is stored is asked for once nothing was answered to its last append, and only then', async () => {
  let stored = 3
  let asked = 0
  let isAnswered = true
  const server = keepPositions({
    append: async () => {
      stored += 1
      if (!isAnswered) throw new Error('lost')
      return { line: stored, transcript_bytes: 0 }
    },
    position: async () => {
      asked += 1
      return stored
    },
  } as Partial<HostServer> as HostServer)
  const batch = { journal: 'agent-1', events: [], read_to: 1 }
  expect(await server.position('run', 'agent-1', never)).toBe(3)
  await server.append('run', 1, batch, never)
  expect(await server.position('run', 'agent-1', never)).toBe(4)
  expect(asked).toBe(1)

  isAnswered = false
  await expect(server.append('run', 1, batch, never)).rejects.toThrow('lost')
  expect(await server.position('run', 'agent-1', never)).toBe(5)
  expect(await server.position('run', 'agent-2', never)).toBe(5)
  expect(asked).toBe(3)
})
