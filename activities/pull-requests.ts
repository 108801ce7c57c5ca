// Runs on orchestrator workers. Pull requests for what a run has pushed: the only place that has a forge's token in hand.
import { Context } from '@temporalio/activity'
import type { Logger } from 'pino'
import type { ForgeAccess } from '../forges/access.ts'
import { ForgeError } from '../forges/forge.ts'
import { openPullRequest } from '../forges/open.ts'
import type { Db } from '../store/database.ts'
import {
  type AskedPullRequest,
  askedPullRequests,
  knownPullRequest,
  notePullRequestAsked,
  recordPullRequest,
  recordPullRequestFailure,
} from '../store/runs/pull-requests.ts'
import type { PullRequestActivities } from '../workflows/contract.ts'

export interface PullRequestDeps {
  db: Db
  forges: ForgeAccess
  /** Where a person finds a run. */
  runLink: (runId: string) => string
  log: Pick<Logger, 'info' | 'warn'>
}

export function makePullRequestActivities({ db, forges, runLink, log }: PullRequestDeps): PullRequestActivities {
  return {
    async findPullRequests({ runId }) {
      const wanted = (await askedPullRequests(db, runId)).flatMap(({ asked }) => asked ?? [])
      for (const asked of wanted) await notePullRequestAsked(db, asked)
      return wanted.map(({ result }) => result.path)
    },

    async openPullRequest({ runId, path, last, ends }) {
      const { asked } = (await askedPullRequests(db, runId)).find((each) => each.path === path) ?? {}
      // A newer execution was stopped before it pushed anything: there is nothing to tell of.
      if (!asked) return { kind: 'settled' }
      try {
        const repository = await forges.repository(asked.repository.url, runId, Context.current().cancellationSignal)
        const opened = await openPullRequest(repository, {
          ...wantedOf({ ...asked, state: ends ?? asked.state }, runLink(runId)),
          known: await knownPullRequest(db, runId, path),
        })
        await recordPullRequest(db, { runId, path }, opened)
        log.info({ run: runId, path, pull_request: opened.url }, 'a pull request is open')
        return { kind: 'settled' }
      } catch (error) {
        if (!(error instanceof ForgeError)) throw error
        const code = error.code === 'exists' || error.code === 'no_drafts' ? 'refused' : error.code
        const passes = code === 'unavailable' || code === 'rate_limited'
        const final = last || !passes
        log.warn({ run: runId, path, code, reason: error.message, final }, 'no pull request was opened')
        await recordPullRequestFailure(db, { runId, path }, { code, message: sentence(error.message), final })
        return final ? { kind: 'settled' } : { kind: 'again', afterSeconds: error.afterSeconds }
      }
    },
  }
}

/** Forges take a little more; on GitLab a mark of drafts comes before it. */
const TITLE_CHARS = 200
/** Commits whose subjects are listed. */
const COMMITS = 50

function wantedOf({ runId, title, state, repository, ask, result }: AskedPullRequest, link: string) {
  const mark = `<!-- ambient-run: ${runId} -->`
  // The newest comes first in the list.
  const subjects = result.commits.map(({ subject }) => subject).reverse()
  const text = ask.body ?? described(subjects)
  const wrong =
    state === 'FAILED' || state === 'ERROR' ? `The run did not end well (${state}): what it had done is here.` : ''
  return {
    branch: result.push.branch,
    base: ask.base ?? null,
    ref: repository.ref?.replace(/^refs\/heads\//, '') ?? null,
    title: cut(ask.title ?? subjects[0] ?? title),
    body: [text, wrong, `---\nMade by an agent in [this run](${link}).\n${mark}`]
      .filter((part) => part !== '')
      .join('\n\n'),
    draft: ask.draft,
    labels: ask.labels ?? [],
    reviewers: ask.reviewers ?? [],
    mark,
  }
}

function described(subjects: readonly string[]): string {
  const lines = subjects.slice(0, COMMITS).map((subject) => `- ${inert(subject)}`)
  const more = subjects.length - lines.length
  return [...lines, ...(more > 0 ? [`- … and ${more} more`] : [])].join('\n')
}

/** An agent's words call nobody by name and close no issues: mentions and references are broken up. */
const inert = (text: string) => text.replace(/([@#!])(?=[\w[])/g, '$1\u200b').replaceAll('<', '&lt;')

function cut(title: string): string {
  const line = title.split('\n', 1)[0]?.trim() || 'Changes by an agent'
  const characters = [...line]
  return characters.length <= TITLE_CHARS ? line : `${characters.slice(0, TITLE_CHARS - 1).join('')}…`
}

const sentence = (message: string) => (/[.!?]$/.test(message) ? message : `${message}.`)
