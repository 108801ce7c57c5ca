// What a host is told to carry out: by default a command that does nothing, in an environment of nothing.
import type { z } from 'zod'
import { ExecutionOrder } from '../../domain/host-api.ts'

type Change = Partial<z.input<typeof ExecutionOrder>> & { run_id: string }

export const executionOrder = (change: Change): ExecutionOrder =>
  ExecutionOrder.parse({
    ...{ execution: 1, agent: 'command', command: ['true'], model: null, reasoning_level: null },
    ...{ policy: null, base_prompt: null, environment: {} },
    ...change,
  })
