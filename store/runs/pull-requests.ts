// Pull requests of runs: what was asked for, and what the forge has made of it.
import { type Selectable, sql } from 'kysely'
import {
  forgeFailureCodes,
  type PullRequestAsk,
  type PullRequestFailure,
  type PullRequestItem,
  type PullRequestState,
  type PullRequestStatus,
} from '../../domain/git/pull-request.ts'
import { type Repository, withoutCredentials } from '../../domain/run.ts'
import type { RunState } from '../../domain/state.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { lockRun } from '../locking.ts'
import type { PullRequestsTable, ResultSummary } from '../schema.ts'
import { reportArtifact } from './artifacts.ts'
import { insertEvents } from './events.ts'
import { listResults } from './results.ts'
import { touchRun } from './runs.ts'

/** The journal of the events that tell of pull requests. No host may write to it. */
export const PULL_REQUEST_JOURNAL = 'pull-requests'

/** A repository of a run whose commits were pushed and are to have a pull request. */
export interface AskedPullRequest {
  runId: string
  /** The execution that pushed last. */
  execution: number
  title: string
  state: RunState
  repository: Repository
  ask: PullRequestAsk
  result: ResultSummary & { push: NonNullable<ResultSummary['push']> }
}

/** Every repository of the run that was to have one: null where its commits have not got to the server. */
export async function askedPullRequests(
  db: Queryable,
  runId: string,
): Promise<{ path: string; asked: AskedPullRequest | null }[]> {
  const run = await db
    .selectFrom('runs')
    .select(['title', 'state', 'environment'])
    .where('id', '=', runId)
    .executeTakeFirst()
  const repositories = run?.environment?.repos ?? []
  if (run === undefined || !repositories.some(({ pull_request: ask }) => ask)) return []
  const results = await listResults(db, runId)
  return results.flatMap(({ patch_bytes: _, bundle_bytes: __, execution, ...result }) => {
    const { push } = result
    const repository = repositories.find(
      ({ url, push_branch: branch, pull_request: asked }) =>
        asked && withoutCredentials(url) === result.url && (!push || push.branch === branch),
    )
    const ask = repository?.pull_request
    if (repository === undefined || !ask) return []
    const { title, state } = run
    const asked =
      push?.outcome === 'pushed'
        ? { runId, execution, title, state, repository, ask, result: { ...result, push } }
        : null
    return [{ path: result.path, asked }]
  })
}

/** The one that is known already; null when none is. */
export async function knownPullRequest(db: Queryable, runId: string, path: string): Promise<string | null> {
  const row = await db
    .selectFrom('pull_requests')
    .select('url')
    .where('run_id', '=', runId)
    .where('path', '=', path)
    .executeTakeFirst()
  return row?.url ?? null
}

/** Notes that a pull request is to be opened, or to have what was pushed since. */
export async function notePullRequestAsked(db: Db, asked: AskedPullRequest): Promise<void> {
  const { runId, execution, repository, result } = asked
  const row = { repository: withoutCredentials(repository.url), branch: result.push.branch, execution }
  await db
    .insertInto('pull_requests')
    .values({ run_id: runId, path: result.path, ...row, state: 'asked' })
    .onConflict((conflict) =>
      conflict.columns(['run_id', 'path']).doUpdateSet({
        ...row,
        state: sql<PullRequestState>`case pull_requests.state when 'failed' then 'asked' else pull_requests.state end`,
        updated_at: sql`now()`,
      }),
    )
    .execute()
}

/** What the forge has. `taken`: it was there before. */
export interface OpenedPullRequest {
  number: number
  url: string
  status: PullRequestStatus
  taken: boolean
  notes: readonly string[]
}

/** Writes down that there is one, and tells of it where it is news. */
export async function recordPullRequest(
  db: Db,
  { runId, path }: { runId: string; path: string },
  opened: OpenedPullRequest,
): Promise<void> {
  const { number, url, status, taken, notes } = opened
  await change(db, runId, path, async (tx, former) => {
    const isNews = former.url !== url
    const noted = isNews ? { notes: jsonb([...notes]) } : {}
    await set(tx, former, { state: 'opened', number, url, status, ...noted, failure: null })
    const { branch, execution } = former
    const uid = await noteArtifact(tx, { id: runId, execution }, { url, branch, status })
    return isNews || former.status !== status
      ? {
          kind: 'artifact',
          data: {
            ...{ artifact_uid: uid, artifact_type: 'PULL_REQUEST', url, branch, status, path },
            ...(taken && { taken }),
            ...(isNews && notes.length > 0 && { notes: [...notes] }),
          },
        }
      : null
  })
}

/** Its agent may have opened it, and reported it itself: then that one is brought up to date. */
async function noteArtifact(
  tx: Tx,
  run: { id: string; execution: number },
  data: { url: string; branch: string; status: string },
): Promise<string> {
  const reported = await tx
    .updateTable('artifacts')
    .set({ data: sql`data || ${jsonb(data)}` })
    .where('run_id', '=', run.id)
    .where('type', '=', 'PULL_REQUEST')
    .where(sql`data ->> 'url'`, '=', data.url)
    .returning('uid')
    .executeTakeFirst()
  if (reported !== undefined) return reported.uid
  return await reportArtifact(tx, run, { type: 'PULL_REQUEST', key: `pull request ${data.url}`, data })
}

/** Writes down why there is none. `final`: it is not tried again by itself. */
export async function recordPullRequestFailure(
  db: Db,
  { runId, path }: { runId: string; path: string },
  { code, message, final }: { code: PullRequestFailure['code']; message: string; final: boolean },
): Promise<void> {
  const { passing, nextStep } = forgeFailureCodes[code]
  const failure: PullRequestFailure = {
    code,
    message,
    next_step: final && passing ? 'Ask for it again when the forge is well.' : nextStep,
    retryable: passing,
  }
  await change(db, runId, path, async (tx, former) => {
    // What is there already only gets what was pushed since, and it has that.
    if (former.url !== null && !final) return null
    const state = final ? 'failed' : 'waiting'
    await set(tx, former, { state, failure: jsonb(failure) })
    // The same trouble time and again is told once.
    if (former.state === state && former.failure?.code === code) return null
    return {
      kind: 'warning',
      data: {
        code: 'pull_request_not_opened',
        message: `${final ? 'No pull request was opened' : 'No pull request could be opened yet'} for ${former.branch}. ${message} ${failure.next_step}`,
        path,
        branch: former.branch,
        failure,
      },
    }
  })
}

/** Of a run, in the order of their paths. */
export async function listPullRequests(db: Queryable, runId: string): Promise<PullRequestItem[]> {
  const rows = await db.selectFrom('pull_requests').selectAll().where('run_id', '=', runId).orderBy('path').execute()
  return rows.map(({ path, repository, branch, state, url, number, status, notes, failure, attempts, ...times }) => ({
    ...{ path, repository, branch, state, url, number, status, notes, failure, attempts },
    created_at: times.created_at.toISOString(),
    updated_at: times.updated_at.toISOString(),
  }))
}

type Former = Selectable<PullRequestsTable>

type Told = { kind: 'artifact' | 'warning'; data: Record<string, unknown> } | null

async function change(
  db: Db,
  runId: string,
  path: string,
  work: (tx: Tx, former: Former) => Promise<Told>,
): Promise<void> {
  await db.transaction().execute(async (tx) => {
    const run = await lockRun(tx, runId)
    const former = await tx
      .selectFrom('pull_requests')
      .selectAll()
      .where('run_id', '=', runId)
      .where('path', '=', path)
      .forUpdate()
      .executeTakeFirst()
    if (former === undefined) return
    const told = await work(tx, former)
    if (told === null) return
    const { told: lines } = await tx
      .selectFrom('pull_requests')
      .select((eb) => eb.fn.sum<number>('told').as('told'))
      .where('run_id', '=', runId)
      .executeTakeFirstOrThrow()
    await tx
      .updateTable('pull_requests')
      .set((eb) => ({ told: eb('told', '+', 1) }))
      .where('run_id', '=', runId)
      .where('path', '=', path)
      .execute()
    const event = { line: Number(lines) + 1, part: 0, time: new Date().toISOString(), ...told }
    await insertEvents(tx, run, former.execution, PULL_REQUEST_JOURNAL, [event])
    await touchRun(tx, runId)
  })
}

async function set(tx: Tx, { run_id: runId, path }: Former, values: object): Promise<void> {
  await tx
    .updateTable('pull_requests')
    .set((eb) => ({ ...values, attempts: eb('attempts', '+', 1), updated_at: sql`now()` }))
    .where('run_id', '=', runId)
    .where('path', '=', path)
    .execute()
}
