// The executions of a run: their beginning, and the sandbox they work in.
import { sql } from 'kysely'
import type { AgentConfig } from '../../domain/run.ts'
import { isTerminal } from '../../domain/state.ts'
import type { ExecutionPlan, ExecutionRef, GoesOnBecause, SandboxFate, SandboxPlace } from '../../workflows/contract.ts'
import type { Db, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { type LockedRun, lockRun } from '../locking.ts'
import { takePlace } from '../queue/admission.ts'
import { giveBack } from '../queue/places.ts'
import { queuePlaces } from '../queue/queue.ts'
import { revokeCredentials } from './credentials.ts'
import { markRead } from './mail.ts'
import { changeSandbox } from './sandboxes.ts'
import { changeState } from './states.ts'
import { insertTimeline } from './timeline.ts'

/** What holds for an execution where the run itself does not say. */
export type ExecutionDefaults = Pick<
  ExecutionPlan,
  'idleMinutes' | 'turnMinutes' | 'runMinutes' | 'questionMinutes' | 'hostLostSeconds' | 'attempts'
>

/** What is told when an execution goes on with what the former one had in hand. */
const goesOnMessages: Record<GoesOnBecause, string> = {
  host_lost: 'The host that had this run is lost. The run goes on on another one.',
  sandbox_lost: 'The sandbox is lost. The run goes on in another one.',
  answered: 'The sandbox had been given up while the question waited. The answer is told to the agent in another one.',
  interrupted: 'The sandbox had been given up while a question waited. The new message is worked on in another one.',
}

/**
 * Opens the next execution of a run for the first unread prompt among `mail`,
 * which is marked as read when it need not wait, or to go on with what the former one had in
 * hand; null when there is neither. It is
 * let in at once, or waits in line until mail of the kind `admit` comes for it.
 * The same key is answered with the same plan.
 */
export async function beginExecution(
  db: Db,
  input: { runId: string; key: string; mail: readonly string[]; goesOn?: GoesOnBecause | undefined },
  defaults: ExecutionDefaults,
): Promise<ExecutionPlan | null> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, input.runId)
    const asked = await whatIsAsked(tx, run, input.key, defaults)
    const { begun, unread } = asked
    if (begun !== null) return begun
    const { mail, goesOn } = input
    if (goesOn === undefined && !unread.some(({ id }) => mail.includes(id))) return null

    if (goesOn !== undefined) await leaveExecution(tx, run, goesOn)
    const { execution, heldBy, ...planned } = planExecution(run, asked, goesOn, defaults)
    const admitted = await takePlace(tx, { runId: run.id, execution, heldBy, mail })
    const isNext = (id: string) => unread.some((prompt) => prompt.id === id)
    const takes = (admitted && goesOn === undefined && mail.find(isNext)) || null
    if (takes !== null) await markRead(tx, run.id, [takes], input.key)
    const plan: ExecutionPlan = { execution, heldBy, ...planned, takes, admitted, unread }
    await tx
      .insertInto('executions')
      .values({ run_id: run.id, execution, key: input.key, plan: jsonb(plan) })
      .execute()
    run.execution = execution
    const waits = admitted ? undefined : (await queuePlaces(tx, [run.id])).get(run.id)?.message
    const told = [goesOn && goesOnMessages[goesOn], waits].filter((each) => each !== undefined)
    const message = told.length > 0 ? told.join(' ') : undefined
    const state = admitted ? 'PENDING' : 'QUEUED'
    if (run.state !== state || message !== undefined)
      await changeState(tx, run, { execution, key: `begin/${input.key}`, state, message }, { execution })
    else await tx.updateTable('runs').set({ execution }).where('id', '=', run.id).execute()
    return plan
  })
}

/** The former execution has ended without a terminal state. What its host still says of it no longer counts. */
async function leaveExecution(tx: Tx, run: LockedRun, goesOn: GoesOnBecause): Promise<void> {
  await tx
    .updateTable('executions')
    .set({ finished_at: sql`now()` })
    .where('run_id', '=', run.id)
    .where('execution', '=', run.execution)
    .execute()
  await revokeCredentials(tx, run.id)
  if (goesOn !== 'host_lost' || !run.sandbox_running) return
  await tx.updateTable('runs').set({ sandbox_running: false }).where('id', '=', run.id).execute()
  const payload = { workspace_kept: false, host_id: run.host_id, reason: goesOn }
  const key = `left/${run.execution}`
  await insertTimeline(tx, [{ runId: run.id, key, execution: run.execution, type: 'vm_shutdown', payload }])
}

/** All that a new execution is planned by. */
interface Asked {
  /** The plan that the key was answered with before. */
  begun: ExecutionPlan | null
  /** Prompts that were handed to a workflow, in the order they were written. An earlier one may have been terminated with them. */
  unread: ExecutionPlan['unread']
  idle_minutes: number | null
  config: AgentConfig
  pullRequests: boolean | null
  /** A live host has the sandbox or the workspace. */
  isHeld: boolean
}

async function whatIsAsked(tx: Tx, run: LockedRun, key: string, defaults: ExecutionDefaults): Promise<Asked> {
  return await tx
    .selectFrom('runs')
    .leftJoin('hosts', 'hosts.id', 'runs.host_id')
    .select([
      'idle_minutes',
      'config',
      sql<boolean | null>`jsonb_path_exists(environment, '$.repos[*].pull_request')`.as('pullRequests'),
      sql<boolean>`coalesce(
        (sandbox_running or (workspace_kept and coalesce(workspace_until > now(), true)))
          and hosts.reported_at > now() - make_interval(secs => ${defaults.hostLostSeconds}::integer),
        false
      )`.as('isHeld'),
      sql<ExecutionPlan | null>`(select plan from executions where run_id = runs.id and key = ${key})`.as('begun'),
      sql<ExecutionPlan['unread']>`(
        select coalesce(
          jsonb_agg(
            jsonb_build_object('id', mail.id, 'kind', kind, 'delivery', coalesce(body ->> 'delivery', 'queue'))
            order by position
          ),
          '[]'
        )
        from mail
        where run_id = runs.id and kind = 'prompt' and accepted_at is null
      )`.as('unread'),
    ])
    .where('runs.id', '=', run.id)
    .executeTakeFirstOrThrow()
}

function planExecution(
  run: LockedRun,
  { idle_minutes, config, pullRequests, isHeld }: Asked,
  goesOn: GoesOnBecause | undefined,
  defaults: ExecutionDefaults,
): Omit<ExecutionPlan, 'takes' | 'admitted' | 'unread'> {
  return {
    ...defaults,
    execution: run.execution + 1,
    pool: run.pool,
    heldBy: isHeld && goesOn !== 'host_lost' ? run.host_id : null,
    idleMinutes: idle_minutes ?? defaults.idleMinutes,
    ...(pullRequests ? { pullRequests: true } : {}),
    // What a setting allows may have become less since the run was begun.
    turnMinutes: Math.min(config.max_turn_minutes ?? defaults.turnMinutes, defaults.turnMinutes),
    runMinutes: Math.min(config.max_run_minutes ?? defaults.runMinutes, defaults.runMinutes),
  }
}

/** Idempotent. What an execution that is over still says, changes nothing. */
export async function recordSandbox(
  db: Db,
  { runId, execution, ...fate }: ExecutionRef & SandboxFate,
  workspaceHours: number,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    if (execution < run.execution) return
    await changeSandbox(tx, run, fate, workspaceHours)
    await giveBack(tx, run.id, { work: false, sandbox: !fate.running })
  })
}

/**
 * Ends a run whose workflow was terminated before it could. Answers with the
 * host that may still have a sandbox of it; null when the run is over already,
 * or when no host ever had it.
 */
export async function endAbandoned(
  db: Db,
  { runId, key, reason }: { runId: string; key: string; reason: string },
): Promise<(ExecutionRef & SandboxPlace) | null> {
  return db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const { execution, host_id: hostId } = run
    if (!isTerminal(run.state)) {
      await tx
        .updateTable('mail')
        .set({ accepted_at: sql`now()`, accepted_by: key })
        .where('run_id', '=', runId)
        .where('accepted_at', 'is', null)
        .execute()
      await changeState(tx, run, { execution, key, state: 'CANCELLED', message: reason })
      await giveBack(tx, runId, { work: true, sandbox: false })
    }
    return hostId === null || execution === 0 ? null : { runId, execution, hostId }
  })
}
