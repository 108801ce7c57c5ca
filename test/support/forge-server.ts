// The API of a forge over bare repositories on this disk, in the shapes that GitHub and GitLab document. What a forge
// refuses is scripted: each refusal as it comes over the wire there.
import { existsSync } from 'node:fs'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { personalGit } from './git-server.ts'

export interface Refusal {
  /** Which requests: `POST /pulls` is every POST whose path ends so. Each refusal is for one. */
  on: string
  status: number
  body: unknown
  headers?: Record<string, string>
  /** It is done all the same: the answer is lost. */
  done?: true
}

export interface Pull {
  number: number
  repository: string
  branch: string
  base: string
  title: string
  body: string
  draft: boolean
  state: 'open' | 'closed' | 'merged'
  labels: string[]
  reviewers: string[]
}

export interface ForgeServer {
  listener: RequestListener
  pulls: Pull[]
  /** `POST /repos/you/app/pulls`, in the order in which they came. */
  requests: string[]
  refusals: Refusal[]
  token: string
}

type Answer = { status: number; body: unknown; headers?: Record<string, string> }

interface Asked {
  method: string
  path: string
  query: URLSearchParams
  body: Record<string, unknown>
}

/** `root` has the repositories, `<path>.git`. */
export const githubServer = (root: string): ForgeServer => forgeServer(root, '/api/v3', githubToken, github)
export const gitlabServer = (root: string): ForgeServer => forgeServer(root, '/api/v4', gitlabToken, gitlab)

const githubToken = (request: IncomingMessage) => request.headers.authorization?.replace(/^Bearer /, '')
const gitlabToken = (request: IncomingMessage) => request.headers['private-token']

function forgeServer(
  root: string,
  prefix: string,
  tokenOf: (request: IncomingMessage) => unknown,
  answer: (forge: ForgeServer, root: string, asked: Asked) => Answer,
): ForgeServer {
  const forge: ForgeServer = { listener, pulls: [], requests: [], refusals: [], token: 'forge-token-0001' }
  return forge

  function listener(request: IncomingMessage, response: ServerResponse): void {
    let text = ''
    request.on('data', (chunk) => {
      text += String(chunk)
    })
    request.on('end', () => {
      const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://forge')
      const path = pathname.slice(prefix.length)
      const method = request.method ?? 'GET'
      forge.requests.push(`${method} ${decodeURIComponent(path)}`)
      const body = text === '' ? {} : JSON.parse(text)
      const refusal = forge.refusals.find(({ on }) => {
        const [verb, end = ''] = on.split(' ')
        return verb === method && path.endsWith(end)
      })
      const isKnown = tokenOf(request) === forge.token
      let answered: Answer | null = isKnown
        ? null
        : { status: 401, body: { message: prefix === '/api/v3' ? 'Bad credentials' : '401 Unauthorized' } }
      if (refusal) {
        forge.refusals.splice(forge.refusals.indexOf(refusal), 1)
        if (refusal.done) answer(forge, root, { method, path, query, body })
        answered = refusal
      }
      answered ??= answer(forge, root, { method, path, query, body })
      const { status, body: said, headers = {} } = answered
      const isText = typeof said === 'string'
      response.writeHead(status, { 'content-type': isText ? 'text/html' : 'application/json', ...headers })
      response.end(isText ? said : JSON.stringify(said))
    })
  }
}

const branchesOf = (root: string, path: string): string[] =>
  personalGit(join(root, `${path}.git`), 'for-each-ref', '--format=%(refname:short)', 'refs/heads').split('\n')

const commitsBetween = (root: string, path: string, from: string, to: string): string[] =>
  personalGit(join(root, `${path}.git`), 'rev-list', `${from}..${to}`)
    .split('\n')
    .filter((commit) => commit !== '')

const webOf = (path: string) => `https://forge.test/${path}`

/** https://docs.github.com/en/rest/pulls/pulls, version 2022-11-28. */
function github(forge: ForgeServer, root: string, { method, path, query, body }: Asked): Answer {
  const [, owner, name, rest = ''] = /^\/repos\/([^/]+)\/([^/]+)(\/.*)?$/.exec(decodeURIComponent(path)) ?? []
  const repository = `${owner}/${name}`
  if (!existsSync(join(root, `${repository}.git`))) return notFound
  const shown = (pull: Pull) => ({
    url: `https://forge.test/api/v3/repos/${repository}/pulls/${pull.number}`,
    id: 1_000 + pull.number,
    node_id: `PR_${pull.number}`,
    html_url: `${webOf(repository)}/pull/${pull.number}`,
    number: pull.number,
    state: pull.state === 'open' ? 'open' : 'closed',
    locked: false,
    title: pull.title,
    body: pull.body === '' ? null : pull.body,
    user: { login: 'ambient-bot', id: 7, type: 'Bot' },
    labels: pull.labels.map((label) => ({ name: label, color: 'ededed', default: false })),
    created_at: '2026-01-31T12:00:00Z',
    updated_at: '2026-01-31T12:00:00Z',
    closed_at: pull.state === 'open' ? null : '2026-01-31T13:00:00Z',
    merged_at: pull.state === 'merged' ? '2026-01-31T13:00:00Z' : null,
    requested_reviewers: pull.reviewers.map((login) => ({ login })),
    head: { label: `${owner}:${pull.branch}`, ref: pull.branch },
    base: { label: `${owner}:${pull.base}`, ref: pull.base },
    draft: pull.draft,
  })
  if (method === 'GET' && rest === '') {
    return ok({ id: 1, name, full_name: repository, private: true, default_branch: 'main', archived: false })
  }
  const branch = /^\/branches\/(.+)$/.exec(rest)?.[1]
  if (method === 'GET' && branch !== undefined) {
    return branchesOf(root, repository).includes(branch)
      ? ok({ name: branch, protected: false })
      : { status: 404, body: { message: 'Branch not found', documentation_url: 'https://docs.github.com/rest' } }
  }
  if (method === 'GET' && rest === '/pulls') {
    const head = query.get('head')
    const found = forge.pulls.filter((pull) => pull.repository === repository && `${owner}:${pull.branch}` === head)
    return ok(found.toReversed().map(shown))
  }
  if (method === 'POST' && rest === '/pulls') {
    const {
      head,
      base,
      title,
      body: text,
      draft,
    } = body as { head: string; base: string; title: string; body: string; draft: boolean }
    const invalid = (message: string) => ({
      status: 422,
      body: {
        message: 'Validation Failed',
        errors: [{ resource: 'PullRequest', code: 'custom', message }],
        documentation_url: 'https://docs.github.com/rest/pulls/pulls#create-a-pull-request',
        status: '422',
      },
    })
    if (!branchesOf(root, repository).includes(base)) {
      return {
        status: 422,
        body: { message: 'Validation Failed', errors: [{ resource: 'PullRequest', field: 'base', code: 'invalid' }] },
      }
    }
    if (forge.pulls.some((pull) => pull.repository === repository && pull.branch === head && pull.state === 'open'))
      return invalid(`A pull request already exists for ${owner}:${head}.`)
    if (commitsBetween(root, repository, base, head).length === 0)
      return invalid(`No commits between ${base} and ${head}`)
    const pull = add(forge, { repository, branch: head, base, title, body: text, draft })
    return { status: 201, body: shown(pull) }
  }
  const [, number, what] = /^\/(?:issues|pulls)\/(\d+)\/(labels|requested_reviewers)$/.exec(rest) ?? []
  const pull = forge.pulls.find((each) => each.repository === repository && each.number === Number(number))
  if (method !== 'POST' || pull === undefined) return notFound
  if (what === 'labels') {
    pull.labels.push(...((body.labels ?? []) as string[]))
    return ok(pull.labels.map((label) => ({ name: label })))
  }
  const { reviewers = [], team_reviewers: teams = [] } = body as Record<string, string[]>
  if (reviewers.includes('nobody')) {
    const message =
      'Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the you/app repository.'
    return { status: 422, body: { message, documentation_url: 'https://docs.github.com/rest' } }
  }
  pull.reviewers.push(...reviewers, ...teams.map((team) => `team/${team}`))
  return { status: 201, body: shown(pull) }
}

/** https://docs.gitlab.com/api/merge_requests */
function gitlab(forge: ForgeServer, root: string, { method, path, query, body }: Asked): Answer {
  if (path === '/users') {
    const username = query.get('username')
    return ok(username === 'nobody' ? [] : [{ id: 1_000 + (username?.length ?? 0), username, state: 'active' }])
  }
  const [, id = '', rest = ''] = /^\/projects\/([^/]+)(\/.*)?$/.exec(path) ?? []
  const repository = decodeURIComponent(id)
  if (!existsSync(join(root, `${repository}.git`))) return { status: 404, body: { message: '404 Project Not Found' } }
  const shown = (pull: Pull) => ({
    id: 1_000 + pull.number,
    iid: pull.number,
    project_id: 3,
    title: pull.title,
    description: pull.body,
    state: pull.state === 'open' ? 'opened' : pull.state,
    created_at: '2026-01-31T12:00:00.000Z',
    updated_at: '2026-01-31T12:00:00.000Z',
    merged_at: pull.state === 'merged' ? '2026-01-31T13:00:00.000Z' : null,
    target_branch: pull.base,
    source_branch: pull.branch,
    author: { id: 7, username: 'ambient-bot', state: 'active' },
    reviewers: pull.reviewers.map((username) => ({ id: 1, username })),
    source_project_id: 3,
    target_project_id: 3,
    labels: pull.labels,
    draft: pull.draft,
    work_in_progress: pull.draft,
    detailed_merge_status: 'mergeable',
    sha: '8888888888888888888888888888888888888888',
    web_url: `${webOf(repository)}/-/merge_requests/${pull.number}`,
  })
  if (method === 'GET' && rest === '') {
    return ok({ id: 3, path_with_namespace: repository, default_branch: 'main', visibility: 'private' })
  }
  const branch = /^\/repository\/branches\/(.+)$/.exec(rest)?.[1]
  if (branch !== undefined) {
    return branchesOf(root, repository).includes(decodeURIComponent(branch))
      ? ok({ name: decodeURIComponent(branch), merged: false, protected: false })
      : { status: 404, body: { message: '404 Branch Not Found' } }
  }
  if (rest === '/repository/compare') {
    const commits = commitsBetween(root, repository, query.get('from') ?? '', query.get('to') ?? '')
    return ok({ commit: null, commits: commits.map((commit) => ({ id: commit })), diffs: [], compare_timeout: false })
  }
  if (method === 'GET' && rest === '/merge_requests') {
    const wanted = query.get('source_branch')
    const found = forge.pulls.filter((pull) => pull.repository === repository && pull.branch === wanted)
    return ok(found.toReversed().map(shown))
  }
  if (method === 'POST' && rest === '/merge_requests') {
    const { source_branch: head, target_branch: base, title, description } = body as Record<string, string>
    const there = forge.pulls.find((each) => each.branch === head && each.state === 'open')
    if (there) {
      const message = [`Another open merge request already exists for this source branch: !${there.number}`]
      return { status: 409, body: { message } }
    }
    const draft = /^Draft: /.test(title ?? '')
    const fields = { repository, branch: head ?? '', base: base ?? '', title: title ?? '', body: description ?? '' }
    return { status: 201, body: shown(add(forge, { ...fields, draft })) }
  }
  const number = /^\/merge_requests\/(\d+)$/.exec(rest)?.[1]
  const pull = forge.pulls.find((each) => each.repository === repository && each.number === Number(number))
  if (method !== 'PUT' || pull === undefined) return { status: 404, body: { message: '404 Not found' } }
  const { add_labels: labels = '', reviewer_ids: reviewers = [] } = body as {
    add_labels?: string
    reviewer_ids?: number[]
  }
  pull.labels.push(...labels.split(',').filter((label) => label !== ''))
  pull.reviewers.push(...reviewers.map(String))
  return ok(shown(pull))
}

const ok = (body: unknown): Answer => ({ status: 200, body })
const notFound: Answer = {
  status: 404,
  body: { message: 'Not Found', documentation_url: 'https://docs.github.com/rest', status: '404' },
}

function add(forge: ForgeServer, fields: Omit<Pull, 'number' | 'state' | 'labels' | 'reviewers'>): Pull {
  const pull: Pull = { ...fields, number: forge.pulls.length + 1, state: 'open', labels: [], reviewers: [] }
  forge.pulls.push(pull)
  return pull
}
