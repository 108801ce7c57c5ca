// Runs on the worker that holds the sandbox. Keeps off this host what another one, or another run, needs to go on from here.
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import type { CheckpointSummary } from '../../domain/checkpoint.ts'
import { AgentName } from '../../domain/harness.ts'
import { CheckpointMark, type Manifest, type Taken, takeCheckpoint } from '../../environments/checkpoint/checkpoint.ts'
import { CheckpointError } from '../../environments/checkpoint/facts.ts'
import { planRepositories } from '../../environments/git/repositories.ts'
import { readState, writeState } from '../../environments/run-directory.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { currentSandbox, usableSandbox } from './sandbox.ts'
import { ServerRefusal } from './server.ts'

/** What another host must know of the run, as in `RunState`. */
export const CheckpointRecord = z.object({
  agent: AgentName,
  session: z.string().nullable(),
  greetedSession: z.string().nullable(),
  messageId: z.string().nullable(),
  previousMessageId: z.string().nullable(),
  opensSession: z.boolean(),
})

/** What this host remembers of the run's checkpoints. */
const Progress = z.object({
  /** Checkpoints begun. */
  count: z.number().int().min(0),
  /** Of the one that the server has; null when that is not this host's. */
  mark: CheckpointMark.nullable(),
  record: z.string(),
  /** The message whose turn was the last before one was tried. */
  messageId: z.string().nullable().default(null),
})

/** Where the agent keeps its sessions, in its home. */
export const sessionPaths = ({ deps, ref, agent, order }: Execution): readonly string[] =>
  agent.protocol === 'command'
    ? []
    : agent.sessions.paths(workingDirectory(deps.host.paths(ref.runId, null).workspace, order))

/** Whether a checkpoint was tried since the last turn ended; also where there was none. */
export function isAfterTurn({ state }: Execution): boolean {
  const { messageId } = state.get()
  if (messageId === null) return true
  return readState(state.paths, Progress, 'checkpoint')?.messageId === messageId
}

/** The server has a checkpoint of what is here: it has come from there. */
export async function noteRestored({ state }: Execution): Promise<void> {
  const { messageId } = state.get()
  await writeState(state.paths, Progress, { count: 0, mark: null, record: '', messageId }, 'checkpoint')
}

/** Before another turn: whatever ended the former one, it is not to be lost with this one. */
export async function checkpointFormerTurn(execution: Execution): Promise<void> {
  if (!isAfterTurn(execution)) await checkpoint(execution)
}

/**
 * Stores a checkpoint with the server when anything has changed since the last
 * one. One that is too large or cannot be taken is said in the transcript: the
 * run goes on without. A late one is of an execution that another one has taken
 * over from; nobody hears of it but who asks for the run's checkpoints.
 * @returns what became of it.
 */
export async function checkpoint(
  execution: Execution,
  { late = false } = {},
): Promise<'unchanged' | 'stored' | 'not stored'> {
  const { deps, ref, state, order, stop } = execution
  const { setupDone, restoring, prepared } = state.get()
  // Half of a workspace is worth less than the checkpoint that it is being made of.
  if (!setupDone || restoring || prepared?.kind === 'begun' || prepared?.kind === 'behind') return 'unchanged'
  const { paths } = state
  const former = readState(paths, Progress, 'checkpoint')
  const count = (former?.count ?? 0) + 1
  const record = recordOf(execution)
  const { messageId } = record
  const isKnown = (order.has_checkpoint || late) && former?.record === JSON.stringify(record)
  try {
    const taken = await take(execution, { count, record, known: isKnown ? former.mark : null })
    if (taken.kind === 'unchanged') {
      if (former) await writeState(paths, Progress, { ...former, count, messageId }, 'checkpoint')
      return 'unchanged'
    }
    if (taken.kind === 'too_large') await tellTooLarge(execution, 'Nothing of the run is kept outside this host')
    else {
      const sent = { file: taken.file, summary: summaryOf(taken.manifest, record), late }
      await deps.server
        .saveCheckpoint(ref.runId, ref.execution, sent, stop)
        .finally(() => rm(taken.file, { force: true }))
      const progress = { count, mark: taken.mark, record: JSON.stringify(record), messageId }
      await writeState(paths, Progress, progress, 'checkpoint')
      if (!late) await tellWhatIsLeft(execution, taken)
      return 'stored'
    }
  } catch (error) {
    if (error instanceof ServerRefusal && error.status === 413) {
      await tellTooLarge(
        execution,
        'The server takes no checkpoint as large, so nothing of the run is kept outside this host',
      )
    } else if (error instanceof CheckpointError) {
      // One that is made while a question is open loses its sandbox to a cancel; the execution's end makes another one.
      // Its programs end a moment before the sandbox itself.
      if (await isGone(execution)) throw error
      await sleep(LATE_MS, undefined, { signal: stop })
      if (await isGone(execution)) throw error
      deps.log.warn({ run: ref.runId, err: error }, 'no checkpoint could be taken')
      await warn(execution, 'checkpoint_failed', `The run could not be kept outside this host: ${error.message}`)
    } else throw error
  }
  // The next one is another job, whatever became of this one.
  await writeState(paths, Progress, { count, mark: null, record: '', messageId }, 'checkpoint')
  return 'not stored'
}

/** A container that is being ended has ended after this long. In milliseconds. */
const LATE_MS = 1_000

const isGone = async (execution: Execution): Promise<boolean> => !(await (await currentSandbox(execution))?.isRunning())

function recordOf({ order, state }: Execution): z.infer<typeof CheckpointRecord> {
  const { sessionId, greetedSession, messageId, previousMessageId, opensSession } = state.get()
  return { agent: order.agent, session: sessionId, greetedSession, messageId, previousMessageId, opensSession }
}

const MessageId = z.uuid()

function summaryOf(manifest: Manifest, record: z.infer<typeof CheckpointRecord>): CheckpointSummary {
  return {
    taken_at: manifest.taken_at,
    message_id: MessageId.safeParse(record.messageId).data ?? null,
    session: record.session !== null,
    repositories: manifest.repositories
      .filter(({ is_submodule }) => !is_submodule)
      .map(({ path, head, branch, files_changed }) => ({
        path,
        head_commit: head,
        branch: branch?.replace(/^refs\/heads\//, '') ?? null,
        files_changed,
      })),
    left_out: shortened(manifest.left_out),
  }
}

const SAID = 50

/** Each as a line. Of very many the number says more than the names. */
function shortened(leftOut: readonly string[]): string[] {
  const said = leftOut
    .slice(0, SAID)
    .map((text) => (text.length > 500 ? `${text.slice(0, 500)}…` : text).toWellFormed())
  return leftOut.length > SAID ? [...said, `${leftOut.length - SAID} more`] : said
}

function take(
  execution: Execution,
  { count, record, known }: { count: number; record: z.infer<typeof CheckpointRecord>; known: CheckpointMark | null },
): Promise<Taken> {
  const { deps, ref, order, state, stop } = execution
  const { workspace, home } = deps.host.paths(ref.runId, null)
  return takeCheckpoint({
    paths: state.paths,
    workspace,
    home,
    repositories: planRepositories(order.environment.repos).map(({ path }) => ({
      path,
      cloned: state.get().cloned[path] ?? null,
    })),
    statePaths: sessionPaths(execution),
    execution: ref.execution,
    record,
    known,
    maxBytes: deps.checkpointBytes,
    sandbox: () => usableSandbox(execution),
    id: `checkpoint-${count}`,
    signal: stop,
  })
}

const megabytes = ({ deps }: Execution) =>
  `${Math.round(deps.checkpointBytes / 1024 / 1024)} MiB (AMBIENT_CHECKPOINT_MB)`

const tellTooLarge = (execution: Execution, consequence: string) =>
  warn(
    execution,
    'checkpoint_too_large',
    `What the run has changed is larger than ${megabytes(execution)}. ${consequence} from here on.`,
  )

async function tellWhatIsLeft(execution: Execution, taken: Extract<Taken, { kind: 'taken' }>): Promise<void> {
  const { left_out: leftOut } = taken.manifest
  if (taken.withoutBeside) {
    await warn(
      execution,
      'checkpoint_too_large',
      `With the files beside the repositories, what the run has changed is larger than ${megabytes(execution)}. They are not kept outside this host.`,
    )
  }
  if (leftOut.length > 0) {
    const names = shortened(leftOut).slice(0, 10).join('; ')
    const more = leftOut.length > 10 ? `; and ${leftOut.length - 10} more` : ''
    await warn(execution, 'checkpoint_incomplete', `Not kept outside this host: ${names}${more}.`)
  }
}

/** Something else than the checkpoint itself has gone wrong, again and again. */
export const tellNotKept = (execution: Execution) =>
  warn(
    execution,
    'checkpoint_failed',
    'What the run has done since its last checkpoint could not be kept outside this host. Its workspace is kept here.',
  )

/** Once for an execution: it would be said after each turn. */
async function warn({ transcript, ref }: Execution, code: string, message: string): Promise<void> {
  await transcript.notes(`${code}-${ref.execution}`).add('warning', { code, message })
}
