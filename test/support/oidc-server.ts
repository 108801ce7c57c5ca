// An OpenID Connect provider on a free port: a real one, which the tests can have lie.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'
import Provider from 'oidc-provider'

export const CLIENT = { id: 'ambient', secret: 'secret-of-the-client' }

export interface OidcPerson {
  sub: string
  [claim: string]: unknown
}

export interface OidcServer {
  readonly issuer: string
  /** Who sits at the browser and signs in, without being asked for more. */
  person: OidcPerson
  /** What becomes of the claims of an ID token before it is signed with the provider's own key; null: they are left alone. */
  tamper: ((claims: JWTPayload) => JWTPayload) | null
  /** Signs ID tokens with a key that the provider does not publish. */
  signsWithStrangeKey: boolean
  /** From now on with other keys, as after a rotation. */
  rotateKeys(): Promise<void>
  close(): Promise<void>
}

const SCOPES = 'openid email profile groups'

export async function startOidcServer(redirectUri: string): Promise<OidcServer> {
  let current: { provider: Provider; handle: ReturnType<Provider['callback']> }
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/interaction/')) {
      const result = { login: { accountId: state.person.sub } }
      current.provider.interactionFinished(request, response, result).catch((error: unknown) => {
        response.writeHead(500).end(String(error))
      })
    } else current.handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function makeProvider(kid: string): Promise<void> {
    const keys = await generateKeyPair('RS256', { extractable: true })
    const strange = await generateKeyPair('RS256', { extractable: true })
    const provider: Provider = new Provider(issuer, {
      jwks: { keys: [{ ...(await exportJWK(keys.privateKey)), kid, alg: 'RS256', use: 'sig' }] },
      clients: [{ client_id: CLIENT.id, client_secret: CLIENT.secret, redirect_uris: [redirectUri] }],
      cookies: { keys: ['a key for cookies'] },
      features: { devInteractions: { enabled: false } },
      ttl: { Interaction: 60, Grant: 60, Session: 60, AccessToken: 60, IdToken: 60 },
      pkce: { required: () => true },
      scopes: SCOPES.split(' '),
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'picture'], groups: ['groups'] },
      conformIdTokenClaims: false,
      interactions: { url: (_context: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}` },
      findAccount: (_context: unknown, id: string) => ({ accountId: id, claims: () => state.person }),
      async loadExistingGrant(context: { oidc: { session: { accountId: string }; client: { clientId: string } } }) {
        const { session, client } = context.oidc
        const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
        grant.addOIDCScope(SCOPES)
        await grant.save()
        return grant
      },
    })
    provider.use(async (context, next) => {
      await next()
      if (context.path !== '/token' || context.status !== 200) return
      if (state.tamper === null && !state.signsWithStrangeKey) return
      const answer = context.body as { id_token: string }
      const claims = decodeJwt(answer.id_token)
      const signed = new SignJWT(state.tamper?.(claims) ?? claims).setProtectedHeader({ alg: 'RS256', kid })
      answer.id_token = await signed.sign(state.signsWithStrangeKey ? strange.privateKey : keys.privateKey)
    })
    current = { provider, handle: provider.callback() }
  }

  let rotations = 0
  const state: OidcServer = {
    issuer,
    person: { sub: 'sam', email: 'sam@example.com', email_verified: true, name: 'Sam' },
    tamper: null,
    signsWithStrangeKey: false,
    rotateKeys: () => makeProvider(`key-${++rotations}`),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  await makeProvider('key-0')
  return state
}
