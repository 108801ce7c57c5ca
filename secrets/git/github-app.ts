// Tokens of GitHub Apps: each for one repository, for an hour, made with the app's private key.
import { createPrivateKey, createSign } from 'node:crypto'
import { z } from 'zod'
import type { GitPlace } from '../../domain/git/url.ts'
import { answerText, type Upstream, UpstreamError } from './upstream.ts'

export interface GitHubApp {
  /** What the app's tokens are kept under: another one when its key has changed. */
  key: string
  appId: string
  /** PEM. */
  privateKey: string
  apiUrl: string
  access: 'read' | 'write'
}

export interface GitHubApps {
  /** @throws {UpstreamError} where there is no installation for the repository, or GitHub refuses. */
  token(app: GitHubApp, place: GitPlace): Promise<string>
  /** It was refused: the next one is made anew. */
  forget(token: string): void
}

/** Where the API of a server is that has no address of its own in the settings. */
export const githubApi = ({ scheme, host }: Pick<GitPlace, 'scheme' | 'host'>): string =>
  host === 'github.com' ? 'https://api.github.com' : `${scheme}://${host}/api/v3`

/** Whether a text is a private key that an app can sign with. */
export function isAppKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false // What is wrong with it, OpenSSL says in words that help nobody.
  }
}

/** Clocks differ, and GitHub takes nothing from the future. In seconds. */
const BACK_DATED = 60
/** GitHub takes ten minutes at most. In seconds. */
const LIFETIME = 9 * 60
/** A token that ends so soon is not begun with any more: a push takes its time. In milliseconds. */
const MARGIN_MS = 10 * 60_000
const LARGEST = 1_000

const Installation = z.object({ id: z.number().int() })
const Token = z.object({ token: z.string().min(1), expires_at: z.iso.datetime({ offset: true }) })

export function createGitHubApps(upstream: Upstream, now: () => number = Date.now): GitHubApps {
  const kept = new Map<string, { token: string; expiresAt: number }>()
  const asking = new Map<string, Promise<string>>()

  async function ask<T>(app: GitHubApp, method: 'GET' | 'POST', path: string, schema: z.ZodType<T>, body?: unknown) {
    const content = body === undefined ? null : Buffer.from(JSON.stringify(body))
    const answer = await upstream.send(new URL(`${app.apiUrl}${path}`), {
      method,
      headers: [
        ...['authorization', `Bearer ${jwtOf(app, now())}`],
        ...['accept', 'application/vnd.github+json', 'x-github-api-version', '2022-11-28', 'user-agent', 'ambient'],
        ...(content === null ? [] : ['content-type', 'application/json', 'content-length', String(content.length)]),
      ],
      body: content,
      signal: AbortSignal.timeout(20_000),
    })
    const text = await answerText(answer)
    const status = answer.statusCode ?? 0
    if (status === 404) throw new UpstreamError(`The GitHub App ${app.appId} is not installed there.`)
    if (status === 401) throw new UpstreamError(`GitHub does not know the App ${app.appId}, or not by this key.`)
    const parsed = status < 300 ? schema.safeParse(jsonOf(text)) : null
    if (parsed?.success) return parsed.data
    throw new UpstreamError(`GitHub answered the App ${app.appId} with ${status}: ${messageOf(text)}`, { status })
  }

  async function make(app: GitHubApp, { path }: GitPlace, key: string): Promise<string> {
    const [owner = '', name = '', ...more] = path.split('/')
    if (name === '' || more.length > 0) throw new UpstreamError(`${path} is no repository of GitHub.`)
    const at = `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}/installation`
    const { id } = await ask(app, 'GET', at, Installation)
    const tokenFor = (permissions: object) =>
      ask(app, 'POST', `/app/installations/${id}/access_tokens`, Token, { repositories: [name], permissions })
    const { token, expires_at: expires } =
      app.access === 'read'
        ? await tokenFor({ contents: 'read' })
        : await tokenFor({ contents: 'write', pull_requests: 'write' }).catch((error: unknown) => {
            // An App that may not open pull requests can push all the same.
            if (error instanceof UpstreamError && error.status === 422) return tokenFor({ contents: 'write' })
            throw error
          })
    kept.delete(key)
    for (const [oldest, { expiresAt }] of kept) {
      if (kept.size < LARGEST && expiresAt > now()) break
      kept.delete(oldest)
    }
    kept.set(key, { token, expiresAt: Date.parse(expires) })
    return token
  }

  return {
    async token(app, place) {
      const key = `${app.key} ${app.apiUrl} ${place.path}`
      const known = kept.get(key)
      if (known && known.expiresAt - MARGIN_MS > now()) return known.token
      const current = asking.get(key) ?? make(app, place, key).finally(() => asking.delete(key))
      asking.set(key, current)
      return await current
    },
    forget(token) {
      for (const [key, known] of kept) if (known.token === token) kept.delete(key)
    },
  }
}

function jwtOf({ appId, privateKey }: GitHubApp, at: number): string {
  const seconds = Math.floor(at / 1_000)
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iat: seconds - BACK_DATED, exp: seconds + LIFETIME, iss: appId }
  const signed = `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url')}`
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // A proxy before it answers with a page: the status has to do.
  }
}

function messageOf(text: string): string {
  const said = z.object({ message: z.string() }).safeParse(jsonOf(text))
  return said.success ? said.data.message.slice(0, 300) : 'no reason is given.'
}
