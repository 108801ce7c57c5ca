// What `npm run chaos` is asked for.
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { AgentName } from '../domain/harness.ts'

export const hostKinds = ['direct', 'docker'] as const
export type HostKind = (typeof hostKinds)[number]

/** The agent of this folder, or the name of a real one, whose model is the tests' scripted one. */
const ChaosAgent = z.union([z.literal('light'), AgentName.exclude(['command'])])
export type ChaosAgent = z.infer<typeof ChaosAgent>

const Options = z.object({
  runs: z.coerce.number().int().min(1).max(100_000).default(50),
  seed: z.coerce
    .number()
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .optional(),
  host: z.enum([...hostKinds, 'both']).default('both'),
  agent: ChaosAgent.default('light'),
  every: z.coerce.number().min(0.1).max(3_600).default(4),
  'at-once': z.coerce.number().int().min(1).max(1_000).default(16),
  json: z.boolean().default(false),
  keep: z.boolean().default(false),
})

export interface ChaosOptions {
  runs: number
  /** Determines the runs and the kills. */
  seed: number
  hosts: readonly HostKind[]
  agent: ChaosAgent
  /** Mean pause before a kill, in seconds. */
  every: number
  /** Runs that are under way at the same time. */
  atOnce: number
  json: boolean
  /** The data directory stays also where there is no difference. */
  keep: boolean
}

export const usage = `Usage: npm run chaos -- [options]

Starts the real parts, submits runs, kills parts with SIGKILL while they work, and compares what everybody holds of
each run at the end. Prints one line of figures; ends with 1 on any difference, and keeps the data then.

  --runs N         runs to submit (50)
  --seed S         determines the runs and the order and pauses of the kills (drawn, and told)
  --host KIND      direct, docker, or both at once (both)
  --agent NAME     light, or a real one: claude, codex, gemini, opencode, qwen (light)
  --every SECONDS  mean pause before a kill, most often from when everything is up again (4)
  --at-once N      runs under way at the same time (16)
  --json           the figures and differences as JSON
  --keep           keep the data directory also on success
  --help`

/** @throws {z.ZodError | TypeError} for what is not understood. `null`: only the usage is wanted. */
export function readOptions(args: readonly string[]): ChaosOptions | null {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ runs: text, seed: text, host: text, agent: text, every: text, 'at-once': text },
      ...{ json: flag, keep: flag, help: flag },
    },
  })
  const { help, ...given } = values
  if (help) return null
  const { seed, host, 'at-once': atOnce, ...options } = Options.parse(given)
  return {
    ...options,
    atOnce,
    seed: seed ?? Math.floor(Math.random() * 2 ** 32),
    hosts: host === 'both' ? hostKinds : [host],
  }
}
