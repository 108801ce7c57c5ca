// The two routes of GitHub by which an App gets its tokens, with the App's signature looked at.
import { createVerify, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { text } from 'node:stream/consumers'

export interface TestApp {
  appId: string
  privateKey: string
  listener: RequestListener
  /** Repositories, `owner/name`, that it is installed for. */
  installed: Set<string>
  /** What tokens were asked for. */
  asked: { repositories?: string[]; permissions?: Record<string, string> }[]
}

/** `grant` is told each new token. `now`: what the clock of the forge shows. */
export function testApp(grant: (token: string) => void, now: () => number = Date.now): TestApp {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const app: TestApp = {
    appId: '4711',
    privateKey: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    installed: new Set(),
    asked: [],
    async listener(request, response) {
      const answer = (status: number, body: object) => response.writeHead(status).end(JSON.stringify(body))
      const jwt = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
      if (!isSigned(jwt, publicKey, app.appId, now() / 1_000))
        return answer(401, { message: 'A JSON web token could not be decoded' })
      const [, repository] = /\/repos\/([^/]+\/[^/]+)\/installation$/.exec(request.url ?? '') ?? []
      if (request.method === 'GET' && repository !== undefined)
        return app.installed.has(repository) ? answer(200, { id: 42 }) : answer(404, { message: 'Not Found' })
      if (request.method !== 'POST' || !request.url?.endsWith('/app/installations/42/access_tokens'))
        return answer(404, { message: 'Not Found' })
      app.asked.push(JSON.parse(await text(request)))
      const token = `ghs_token_number_${app.asked.length}`
      grant(token)
      return answer(201, { token, expires_at: new Date(now() + 3_600_000).toISOString() })
    },
  }
  return app
}

function isSigned(jwt: string, key: KeyObject, appId: string, now: number): boolean {
  const [head = '', body = '', signature = ''] = jwt.split('.')
  const part = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString() || '{}')
  const { alg } = part(head)
  const { iss, iat, exp } = part(body)
  const isValid = createVerify('RSA-SHA256').update(`${head}.${body}`).verify(key, signature, 'base64url')
  return isValid && alg === 'RS256' && iss === appId && iat <= now && exp > now && exp - now <= 600
}
