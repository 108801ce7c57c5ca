// Runs on the worker that holds the sandbox. Keeps off this host what another one needs to go on with the run.
import { rm } from 'node:fs/promises'
import { z } from 'zod'
import { AgentName } from '../../domain/harness.ts'
import { CheckpointError, CheckpointMark, type Taken, takeCheckpoint } from '../../environments/checkpoint.ts'
import { planRepositories } from '../../environments/repositories.ts'
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
})

/** Where the agent keeps its sessions, in its home. */
export const sessionPaths = ({ deps, ref, agent, order }: Execution): readonly string[] =>
  agent.protocol === 'command'
    ? []
    : agent.sessions.paths(workingDirectory(deps.host.paths(ref.runId, null).workspace, order))

/**
 * Stores a checkpoint with the server when anything has changed since the last
 * one. One that is too large or cannot be taken is said in the transcript: the
 * run goes on without.
 */
export async function checkpoint(execution: Execution): Promise<void> {
  const { deps, ref, state, order, stop } = execution
  // Half of a workspace is worth less than the checkpoint that it is being made of.
  if (!state.get().setupDone || state.get().restoring) return
  const { paths } = state
  const former = await readState(paths, Progress, 'checkpoint')
  const count = (former?.count ?? 0) + 1
  const record = recordOf(execution)
  const isKnown = order.has_checkpoint && former?.record === JSON.stringify(record)
  try {
    const taken = await take(execution, { count, record, known: isKnown ? former.mark : null })
    if (taken.kind === 'unchanged') return
    if (taken.kind === 'too_large') await tellTooLarge(execution, 'Nothing of the run is kept outside this host')
    else {
      await deps.server
        .saveCheckpoint(ref.runId, ref.execution, taken.file, stop)
        .finally(() => rm(taken.file, { force: true }))
      await writeState(paths, Progress, { count, mark: taken.mark, record: JSON.stringify(record) }, 'checkpoint')
      await tellWhatIsLeft(execution, taken)
      return
    }
  } catch (error) {
    if (error instanceof ServerRefusal && error.status === 413) {
      await tellTooLarge(
        execution,
        'The server takes no checkpoint as large, so nothing of the run is kept outside this host',
      )
    } else if (error instanceof CheckpointError) {
      // One that is made while a question is open loses its sandbox to a cancel; the execution's end makes another one.
      if (!(await (await currentSandbox(execution))?.isRunning())) throw error
      deps.log.warn({ run: ref.runId, err: error }, 'no checkpoint could be taken')
      await warn(execution, 'checkpoint_failed', `The run could not be kept outside this host: ${error.message}`)
    } else throw error
  }
  // The next one is another job, whatever became of this one.
  await writeState(paths, Progress, { count, mark: null, record: '' }, 'checkpoint')
}

function recordOf({ order, state }: Execution): z.infer<typeof CheckpointRecord> {
  const { sessionId, greetedSession, messageId, previousMessageId, opensSession } = state.get()
  return { agent: order.agent, session: sessionId, greetedSession, messageId, previousMessageId, opensSession }
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
  if (taken.withoutBeside) {
    await warn(
      execution,
      'checkpoint_too_large',
      `With the files beside the repositories, what the run has changed is larger than ${megabytes(execution)}. They are not kept outside this host.`,
    )
  }
  if (taken.lost.length > 0) {
    const names = taken.lost.slice(0, 10).join(', ')
    await warn(
      execution,
      'checkpoint_incomplete',
      `${taken.lost.length} files could not be read, and are not kept outside this host: ${names}.`,
    )
  }
}

/** Once for an execution: it would be said after each turn. */
async function warn({ transcript, ref }: Execution, code: string, message: string): Promise<void> {
  await transcript.notes(`${code}-${ref.execution}`).add('warning', { code, message })
}
