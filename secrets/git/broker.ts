// The git broker: a door of the gateway by which runs get at their repositories, without ever seeing what lets them in.

import type http from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import type { Logger } from 'pino'
import { type GitPlace, gitPlace, isSamePlace, placeUrl } from '../../domain/git/url.ts'
import { setLatest } from '../../domain/latest.ts'
import { withoutCredentials } from '../../domain/run.ts'
import type { GitGrant } from '../../store/git/tokens.ts'
import { cachedAuthorize } from '../gateway/credential.ts'
import { endToEnd } from '../gateway/headers.ts'
import { keepsCommits, leadsBack } from './ancestry.ts'
import { createLargeFiles, LARGE_FILES } from './large-files.ts'
import type { GitMatch } from './matching.ts'
import { type PackedCommits, readCommits } from './pack-commits.ts'
import { createPeek } from './peek.ts'
import { hashOf, hasOptions, PushFormatError, readPushHead, refusalReport, wantsReport } from './pkt-lines.ts'
import { describeRules, type PushRules, pushRules, refusalOf, refusalOfChange } from './push-rules.ts'
import { GitRefusal } from './refusal.ts'
import { type GitAsk, isLargeFileAsk, parseGitAsk, passwordIn } from './request.ts'
import { serverQuestions } from './server-questions.ts'
import { authorization, type GitLogin, type GitSources } from './sources.ts'
import { type Upstream, UpstreamError } from './upstream.ts'

export interface GitBroker {
  /** Answers a request; resolves when the answer is out. */
  handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>
}

export interface GitBrokerOptions {
  /** Null: the token is nobody's, or no longer. */
  findGrant: (token: string) => Promise<GitGrant | null>
  sources: GitSources
  upstream: Upstream
  /** Whether a request comes from where its token belongs. */
  mayUse?: (grant: GitGrant, request: http.IncomingMessage) => Promise<boolean>
  log: Pick<Logger, 'warn' | 'info'>
  now?: () => number
}

/** Of a run, for one of its repositories: who may do what there. */
interface Entry {
  grant: GitGrant
  match: GitMatch
  /** Null: nothing is pushed. */
  rules: PushRules | null
  /** It is none of the run's, and is asked for as anybody may. */
  isOpen: boolean
}

/** A renamed repository says where it is now; no chain of them is longer. */
const REDIRECTS = 3
/** Repositories that have moved, as far as they are remembered. */
const LARGEST = 1_000
const FORWARDED: ReadonlySet<string> = new Set([
  ...['accept', 'accept-language', 'content-type', 'content-encoding', 'content-length'],
  ...['git-protocol', 'user-agent'],
])
/** Between the broker and the server alone. */
const NOT_ANSWERED: ReadonlySet<string> = new Set([
  ...['www-authenticate', 'set-cookie', 'location', 'strict-transport-security', 'alt-svc', 'authorization'],
])

/** Nothing is kept back but the list of refs of a push and the commits at its front, and the lists of large files. */
export function createGitBroker(options: GitBrokerOptions): GitBroker {
  const { sources, upstream, log } = options
  const authorize = cachedAuthorize(options.findGrant, options.now)
  const largeFiles = createLargeFiles({ upstream, now: options.now ?? Date.now })
  /** Where repositories are that have been renamed, by team and by what they were called. */
  const moved = new Map<string, URL>()

  async function grantOf(token: string, request: http.IncomingMessage): Promise<GitGrant> {
    const grant = await authorize(token)
    if (grant === null)
      throw new GitRefusal(403, "This credential is unknown or no longer valid: it ends with its run's sandbox.")
    if (options.mayUse && !(await options.mayUse(grant, request)))
      throw new GitRefusal(403, 'This credential is good in the sandbox that it was given to, and nowhere else.')
    return grant
  }

  async function entryOf(
    { place, kind, writes }: Exclude<GitAsk, { kind: 'object' }>,
    grant: GitGrant,
  ): Promise<Entry> {
    const matches = await sources.match(grant, grant.repositories)
    const match = matches.find((each) => isSamePlace(each.place, place))
    if (match === undefined) {
      const led = matches.find((each) => isLedTo(each.place, place))
      if (led !== undefined && (kind === 'refs' || kind === 'rpc') && !writes)
        return { grant, match: { ...led, place, repository: { url: placeUrl(place) } }, rules: null, isOpen: true }
      const names = matches.map((each) => placeUrl(each.place))
      const has = names.length === 0 ? 'none here' : names.join(', ')
      throw new GitRefusal(403, `${placeUrl(place)} is not among the repositories of this run, which has ${has}.`)
    }
    const isWritable = grant.ownBranch !== null && match.access === 'write'
    const rules = isWritable ? pushRules(match.repository, grant.ownBranch ?? '') : null
    return { grant, match, rules, isOpen: false }
  }

  async function serve(request: http.IncomingMessage, response: http.ServerResponse, ask: GitAsk): Promise<void> {
    if (ask.kind === 'object') {
      const { token, ...object } = largeFiles.open(ask.sealed, request.method ?? 'GET')
      await grantOf(token, request)
      return await answer(response, await largeFiles.transfer(object, request, gone(response)))
    }
    const token = passwordIn(request.headers)
    if (token === null) return challenge(response)
    const entry = await entryOf(ask, await grantOf(token, request))
    const { rules, match } = entry
    if (ask.writes && rules === null) {
      const why = match.access === 'read' ? 'its credential is for reading alone' : 'this is no run at work'
      throw new GitRefusal(403, `Nothing is pushed to ${placeUrl(match.place)} from here: ${why}.`)
    }
    switch (ask.kind) {
      case 'refs':
        return await answer(response, await discover(entry, ask.service, request, response))
      case 'rpc':
        if (ask.service === 'git-receive-pack' && rules !== null) return await push(entry, rules, request, response)
        return await answer(response, await send(entry, `/${ask.service}`, request, request, response))
      case 'locks':
        return await answer(response, await send(entry, '/info/lfs/locks/verify', request, request, response))
      case 'batch': {
        const login = await sources.open(match)
        const { defaultBranch } = questionsOn(entry, response)
        const asked = {
          ...{ base: new URL(ask.own, addressOf(request)), token, login, repository: urlOf(entry, '').href },
          refusalOf: async (ref: string | null) => {
            if (rules === null) return 'this run may only read'
            return ref === null ? null : await refusalOf(ref, rules, defaultBranch)
          },
        }
        const text = await largeFiles.batch(asked, request, gone(response))
        response.writeHead(200, { 'content-type': LARGE_FILES })
        response.end(text)
      }
    }
  }

  /** Where the repository is now, as far as that is known. */
  const urlOf = (entry: Entry, path: string): URL =>
    new URL(`${moved.get(nameFor(entry))?.href ?? ownUrl(entry.match)}${path}`)

  async function send(
    entry: Entry,
    path: string,
    request: http.IncomingMessage,
    body: Readable | null,
    response: http.ServerResponse,
    change: { isUnpacked?: boolean; url?: URL } = {},
  ): Promise<http.IncomingMessage> {
    const { match, isOpen } = entry
    const login = isOpen ? null : await sources.open(match)
    const own = login === null ? [] : authorization(login)
    const headers = [...headersOf(request, change.isUnpacked === true), ...own]
    if (body !== null && (request.headers['transfer-encoding'] !== undefined || change.isUnpacked))
      headers.push('transfer-encoding', 'chunked')
    const method = request.method ?? 'GET'
    const answered = await upstream.send(change.url ?? urlOf(entry, path), {
      method,
      headers,
      body,
      signal: gone(response),
    })
    return accepted(answered, match, login)
  }

  function accepted(answered: http.IncomingMessage, match: GitMatch, login: GitLogin | null): http.IncomingMessage {
    if (answered.statusCode !== 401) return answered
    answered.resume()
    if (login === null)
      throw new GitRefusal(403, `${placeUrl(match.place)} is not among the repositories of this run, and not public.`)
    sources.refused(login)
    throw new GitRefusal(403, `${match.place.host} does not accept ${nameOf(match)}.`)
  }

  /**
   * With the redirects that a server answers for a renamed repository, as long as they lead to no other server.
   * Followed anew each time: by now another one may have the old name.
   */
  async function discover(
    entry: Entry,
    service: string,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<http.IncomingMessage> {
    const { match } = entry
    const path = `/info/refs?service=${service}`
    let at = new URL(ownUrl(match))
    for (let hop = 0; ; hop += 1) {
      const url = new URL(`${at.href}${path}`)
      const answered = await send(entry, path, request, null, response, { url })
      const { location } = answered.headers
      if (![301, 302, 307, 308].includes(answered.statusCode ?? 0) || location === undefined) {
        noteMove(entry, hop === 0 ? null : at)
        return answered
      }
      answered.resume()
      const to = URL.parse(location, url.href)
      const base = to === null ? null : URL.parse(to.href.replace(/\/info\/refs(\?.*)?$/, ''))
      const place = base === null ? null : gitPlace(base.href)
      const isOurs = place !== null && sources.covers(match, place)
      if (base === null || base.href === to?.href || !isOurs || hop === REDIRECTS)
        throw new GitRefusal(502, `${match.place.host} sends ${match.place.path} elsewhere, where it is not followed.`)
      at = base
    }
  }

  function noteMove(entry: Entry, to: URL | null): void {
    if (to === null) moved.delete(nameFor(entry))
    else setLatest(moved, nameFor(entry), to, LARGEST)
  }

  /** The refs that it names are looked at before anything of it is passed on. */
  async function push(
    entry: Entry,
    rules: PushRules,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const isPacked = /^(x-)?gzip$/i.test(request.headers['content-encoding'] ?? '')
    const body = isPacked ? request.pipe(createGunzip()) : request
    const read = createPeek(body)
    const head = await readPushHead(read)
    const { defaultBranch, commits } = questionsOn(entry, response)
    const refused: { ref: string; reason: string }[] = []
    for (const { ref } of head.commands) {
      const reason = hasOptions(head.capabilities)
        ? 'push options are not passed on'
        : await refusalOf(ref, rules, defaultBranch)
      if (reason !== null) refused.push({ ref, reason })
    }
    let pushed: Promise<PackedCommits> | null = null
    for (const command of refused.length === 0 ? head.commands : []) {
      const keeps = async () => {
        // Most pushes have one branch, and their first objects tell it: the rest need not wait here.
        pushed ??= readCommits(read, head.end, hashOf(command.to), (parents) => {
          return head.commands.length === 1 && leadsBack(command, parents)
        })
        return await keepsCommits(command, await pushed, commits)
      }
      const reason = await refusalOfChange(command, rules, { keeps, defaultBranch })
      if (reason !== null) refused.push({ ref: command.ref, reason })
    }
    if (refused.length === 0) {
      const whole = Readable.from(read.whole(), { objectMode: false })
      const change = { isUnpacked: isPacked }
      return await answer(response, await send(entry, '/git-receive-pack', request, whole, response, change))
    }
    const { match, grant } = entry
    log.info({ ...grant.of, repository: placeUrl(match.place), refused }, 'a push was refused')
    // Read to its end: who is in mid-upload would not see the answer.
    await read.drain()
    const message = `Nothing was pushed. This run may push to: ${describeRules(rules)}.`
    if (!wantsReport(head.capabilities)) throw new GitRefusal(403, message)
    const others = 'nothing was pushed, for another branch was refused'
    const reasons = head.commands.map(({ ref }) => refused.find((each) => each.ref === ref) ?? { ref, reason: others })
    response.writeHead(200, { 'content-type': 'application/x-git-receive-pack-result', 'cache-control': 'no-cache' })
    response.end(refusalReport(head.capabilities, reasons, message))
  }

  const questionsOn = (entry: Entry, response: http.ServerResponse) =>
    serverQuestions(
      { sources, upstream },
      { match: entry.match, urlOf: (path) => urlOf(entry, path), signal: gone(response) },
    )

  return {
    async handle(request, response) {
      try {
        const ask = parseGitAsk(request.method ?? 'GET', request.url ?? '')
        if (ask === null) throw new GitRefusal(404, 'The git broker has no such address.')
        await serve(request, response, ask)
      } catch (error) {
        if (response.headersSent || response.destroyed) return void response.destroy()
        const refusal = refusalFor(error)
        if (refusal.status >= 500) log.warn({ err: error }, 'a request of git was not answered')
        request.resume()
        // git-lfs shows no other text to people.
        const [type, text] = isLargeFileAsk(request.url ?? '')
          ? [LARGE_FILES, JSON.stringify({ message: refusal.message })]
          : ['text/plain; charset=utf-8', `${refusal.message}\n`]
        response.writeHead(refusal.status, { 'content-type': type, connection: 'close' })
        response.end(text)
      }
    },
  }
}

/**
 * Git in the sandbox goes by the beginnings of addresses: what begins like one of
 * the run's, `you/app-docs` like `you/app`, comes here too.
 */
const isLedTo = (own: GitPlace, place: GitPlace): boolean =>
  isSamePlace({ ...own, path: place.path }, place) && place.path.startsWith(own.path)

const nameFor = ({ grant, match }: Entry): string => `${grant.team} ${placeUrl(match.place)}`

/** The repository on its server, as the run names it: what a client says besides does not count. */
function ownUrl({ place, repository }: GitMatch): string {
  // As it was given, where that is a web address: some servers know no other way to write it.
  const given = withoutCredentials(repository.url)
  const named = gitPlace(given)
  const isGiven = named !== null && isSamePlace(named, place)
  return isGiven ? given.replace(/[?#].*$/, '').replace(/\/+$/, '') : placeUrl(place)
}

function refusalFor(error: unknown): GitRefusal {
  if (error instanceof GitRefusal) return error
  if (error instanceof PushFormatError) return new GitRefusal(400, error.message)
  if (error instanceof UpstreamError) return new GitRefusal(502, error.message)
  return new GitRefusal(503, 'The git broker cannot answer at the moment.')
}

/** Git sends no credential before it is asked for one. */
function challenge(response: http.ServerResponse): void {
  response.writeHead(401, { 'www-authenticate': 'Basic realm="Ambient"', 'content-type': 'text/plain' })
  response.end('This needs the credential of a run.\n')
}

/** As it comes. A server that breaks off shows as that, and never as a whole answer. */
async function answer(response: http.ServerResponse, from: http.IncomingMessage): Promise<void> {
  response.writeHead(from.statusCode ?? 502, endToEnd(from.rawHeaders, NOT_ANSWERED))
  response.flushHeaders()
  // The client has gone, or the server has: both connections are closed with it.
  await pipeline(from, response).catch(() => {})
}

function headersOf(request: http.IncomingMessage, isUnpacked: boolean): string[] {
  const dropped = isUnpacked ? ['content-encoding', 'content-length'] : []
  return Object.entries(request.headers).flatMap(([name, value]) =>
    FORWARDED.has(name) && !dropped.includes(name) && typeof value === 'string' ? [name, value] : [],
  )
}

/** Of the gateway, as the client knows it: what it is to ask next is there too. */
function addressOf({ headers }: http.IncomingMessage): string {
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  return `${scheme}://${headers.host ?? 'gateway'}`
}

/** Aborts when whoever asked goes away: the server is not to go on for nobody. */
function gone(response: http.ServerResponse): AbortSignal {
  const left = new AbortController()
  response.once('close', () => left.abort())
  return left.signal
}

const nameOf = ({ by }: GitMatch): string => {
  if (by.kind === 'stored') return `the git credential "${by.credential.name}"`
  return by.kind === 'settings' ? 'the token of the server’s settings' : 'what the URL has as its credentials'
}
