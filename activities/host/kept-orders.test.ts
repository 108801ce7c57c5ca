import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import { keepOrders } from './kept-orders.ts'
import type { HostServer, SentCheckpoint } from './server.ts'

const never = new AbortController().signal

test('the server is asked once for an execution, and again for the next one', async () => {
  const asked: number[] = []
  const order = async (_: string, execution: number) => {
    asked.push(execution)
    return { execution } as ExecutionOrder
  }
  const server = keepOrders({ order } as Partial<HostServer> as HostServer, 2)
  const runId = randomUUID()
  for (const execution of [1, 1, 2, 1]) expect((await server.order(runId, execution, never)).execution).toBe(execution)
  expect(asked).toEqual([1, 2])
  // The oldest makes room.
  for (const execution of [3, 2, 1]) await server.order(runId, execution, never)
  expect(asked).toEqual([1, 2, 3, 1])
})

test('what is told with the claim need not be asked for', async () => {
  const claim = async () => ({ outcome: 'claimed', order: { execution: 1 } as ExecutionOrder }) as const
  const order = () => Promise.reject(new Error('asked'))
  const server = keepOrders({ claim, order } as Partial<HostServer> as HostServer, 2)
  await server.claim('run', 1, never)
  expect((await server.order('run', 1, never)).execution).toBe(1)
  await expect(server.order('run', 2, never)).rejects.toThrow('asked')
})

test('a checkpoint that this host has stored is known to be there', async () => {
  const order = async () => ({ execution: 1, has_checkpoint: false }) as ExecutionOrder
  const saveCheckpoint = async () => {}
  const server = keepOrders({ order, saveCheckpoint } as Partial<HostServer> as HostServer, 2)
  expect((await server.order('run', 1, never)).has_checkpoint).toBe(false)
  await server.saveCheckpoint('run', 1, { late: false } as SentCheckpoint, never)
  expect((await server.order('run', 1, never)).has_checkpoint).toBe(true)
})

test('a refusal is not kept', async () => {
  let isAway = true
  const order = async () => {
    if (isAway) throw new Error('refused')
    return { execution: 1 } as ExecutionOrder
  }
  const server = keepOrders({ order } as Partial<HostServer> as HostServer, 2)
  await expect(server.order('run', 1, never)).rejects.toThrow('refused')
  isAway = false
  expect((await server.order('run', 1, never)).execution).toBe(1)
})
