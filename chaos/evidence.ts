// What everybody holds of a run when it is over: the server, the machine, the agent, the model.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { RunEvent } from '../domain/event.ts'
import type { RunItem } from '../domain/run.ts'
import { get } from './drive.ts'
import { LEDGER, type Plan, REPOSITORY } from './plan.ts'
import type { System } from './system.ts'

export interface Evidence {
  item: RunItem
  /** The transcript by pages, and as a reader of its stream has got it. */
  events: readonly RunEvent[]
  seen: readonly RunEvent[]
  timeline: readonly { execution: number; event_type: string }[]
  /** The lines that the work product adds to the ledger. */
  diff: readonly string[]
  /** The ledger in the workspace; null where there is none. */
  ledger: readonly string[] | null
  /** Null where the agent keeps none. */
  journal: readonly JournalEntry[] | null
  /** What the model was asked by this run's scripts, in order. */
  requests: readonly ModelRequest[]
}

export interface ModelRequest {
  messageId: string
  step: number
  history: readonly string[]
  /** In milliseconds since 1970. */
  at: number
}

const Id = z.union([z.string(), z.number()])

/** A line of the light agent's own journal. */
const JournalEntry = z.discriminatedUnion('what', [
  z.object({ what: z.literal('start'), pid: z.number() }),
  z.object({ what: z.literal('prompt'), id: Id, text: z.string() }),
  z.object({ what: z.literal('said'), update: z.record(z.string(), z.unknown()) }),
  z.object({ what: z.literal('answer'), id: Id, optionId: z.string().nullable() }),
  z.object({ what: z.literal('asks again'), because: z.string() }),
  z.object({ what: z.literal('cancel') }),
  z.object({ what: z.literal('failed'), id: Id, error: z.string() }),
  z.object({ what: z.literal('end'), id: Id, stopReason: z.string() }),
])
export type JournalEntry = z.infer<typeof JournalEntry>

export async function gather(
  system: System,
  plan: Plan,
  { runId, seen }: { runId: string; seen: readonly RunEvent[] },
): Promise<Evidence> {
  const { stack } = system
  const path = `/api/v1/agent/runs/${runId}`
  const place = system.places.find(({ kind }) => kind === plan.host)
  const directory = join(place?.data ?? '', 'runs', runId)
  const lines = async (...names: string[]) => {
    const text = await readFile(join(directory, ...names), 'utf8').catch(noFile)
    return text?.split('\n').filter((line) => line !== '') ?? null
  }
  const journal = await lines('home', '.light', 'journal.jsonl')
  const ids = plan.messages.map(({ id }) => id)
  const timeline = await get<{ events: Evidence['timeline'] }>(stack, `${path}/timeline`)
  return {
    item: await get<RunItem>(stack, path),
    events: await stack.events(runId),
    seen,
    timeline: timeline.events,
    diff: addedLines(await get<string>(stack, `${path}/diff`)),
    ledger: await lines('workspace', REPOSITORY, LEDGER),
    journal: journal?.map((line) => JournalEntry.parse(JSON.parse(line))) ?? null,
    requests: stack.model.requests.flatMap(({ scriptId, step, history, at }) =>
      scriptId !== null && step !== null && ids.includes(scriptId)
        ? [{ messageId: scriptId, step, history, at: at.getTime() }]
        : [],
    ),
  }
}

function addedLines(patch: string): string[] {
  const isHeader = (line: string) => line.startsWith('+++')
  return patch.split('\n').flatMap((line) => (line.startsWith('+') && !isHeader(line) ? [line.slice(1)] : []))
}

function noFile(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

export const namesIn = (directory: string): Promise<string[]> =>
  readdir(directory).catch((error: NodeJS.ErrnoException) => noFile(error) ?? [])
