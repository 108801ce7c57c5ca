// Signing people in by an OpenID Connect provider: authorization code with PKCE, state and nonce.
import { createRemoteJWKSet, type JWTVerifyGetKey, jwtVerify } from 'jose'
import * as oidc from 'openid-client'
import type { PendingSignIn, ProvenIdentity } from '../../store/accounts/sign-in.ts'
import type { OidcSettings } from './oidc-settings.ts'
import { ProviderError } from './sign-in-trouble.ts'

export interface OidcClient {
  /** Where the person goes to sign in. @throws {ProviderError} */
  begin(secrets: PendingSignIn, redirectUri: string): Promise<URL>
  /** Exchanges what the person came back with. @throws {ProviderError} for anything that is not as it has to be. */
  finish(callback: URL, secrets: PendingSignIn): Promise<ProvenIdentity>
}

/** What the provider tells of itself is asked for anew after this long. */
const METADATA_MS = 60 * 60_000
const REQUEST_SECONDS = 10
/** A provider's clock may differ from ours by so much. */
const CLOCK_SECONDS = 30
/** None that is made with the client's secret: only the provider can have signed. */
const SIGNATURES = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

interface Provider {
  configuration: oidc.Configuration
  keys: JWTVerifyGetKey
  since: number
}

export function createOidcClient(settings: OidcSettings): OidcClient {
  let known: Provider | null = null

  async function provider(): Promise<Provider> {
    if (known !== null && Date.now() - known.since < METADATA_MS) return known
    known = await reaching(() => discover(settings))
    return known
  }

  return {
    async begin({ state, nonce, verifier }, redirectUri) {
      const { configuration } = await provider()
      return oidc.buildAuthorizationUrl(configuration, {
        redirect_uri: redirectUri,
        scope: settings.scopes,
        state,
        nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      })
    },

    async finish(callback, { state, nonce, verifier }) {
      const { configuration, keys } = await provider()
      const tokens = await reaching(() =>
        oidc.authorizationCodeGrant(configuration, callback, {
          expectedState: state,
          expectedNonce: nonce,
          pkceCodeVerifier: verifier,
          idTokenExpected: true,
        }),
      )
      const { issuer } = configuration.serverMetadata()
      // The exchange has checked the claims; that the provider itself has signed them, only its keys tell.
      const { payload } = await reaching(() =>
        jwtVerify(tokens.id_token ?? '', keys, {
          issuer,
          audience: settings.clientId,
          algorithms: SIGNATURES,
          clockTolerance: CLOCK_SECONDS,
          requiredClaims: ['sub', 'exp', 'iat'],
        }),
      )
      const subject = String(payload.sub)
      const isComplete =
        payload.email !== undefined &&
        (settings.admission.groupRoles.length === 0 || payload[settings.groupsClaim] !== undefined)
      const more =
        isComplete || !configuration.serverMetadata().userinfo_endpoint
          ? {}
          : await reaching(() => oidc.fetchUserInfo(configuration, tokens.access_token, subject))
      return identityOf(issuer, subject, { ...more, ...payload }, settings)
    },
  }
}

async function discover(settings: OidcSettings): Promise<Provider> {
  const issuer = new URL(settings.issuer)
  const insecure = issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : []
  const options = { timeout: REQUEST_SECONDS, execute: insecure }
  const found = (await oidc.discovery(issuer, settings.clientId, undefined, oidc.None(), options)).serverMetadata()
  if (found.jwks_uri === undefined) throw new ProviderError('invalid', 'The provider names no jwks_uri.')
  const metadata = { [oidc.clockTolerance]: CLOCK_SECONDS }
  const configuration = new oidc.Configuration(found, settings.clientId, metadata, authenticationBy(found, settings))
  configuration.timeout = REQUEST_SECONDS
  for (const allow of insecure) allow(configuration)
  const keys = createRemoteJWKSet(new URL(found.jwks_uri), {
    timeoutDuration: REQUEST_SECONDS * 1000,
    // A key that is not known is asked for at once: only the provider itself hands us tokens.
    cooldownDuration: 0,
  })
  return { configuration, keys, since: Date.now() }
}

/** A provider that does not say takes HTTP Basic, by the standard. */
function authenticationBy(found: oidc.ServerMetadata, { clientSecret }: OidcSettings): oidc.ClientAuth {
  if (clientSecret === null) return oidc.None()
  const takesPost = found.token_endpoint_auth_methods_supported?.includes('client_secret_post') ?? false
  return takesPost ? oidc.ClientSecretPost(clientSecret) : oidc.ClientSecretBasic(clientSecret)
}

function identityOf(
  issuer: string,
  subject: string,
  claims: Record<string, unknown>,
  settings: OidcSettings,
): ProvenIdentity {
  const { email, email_verified: verified, name, preferred_username: username, picture } = claims
  const isVerified =
    verified === true || verified === 'true' || (verified === undefined && settings.trustsUnverifiedEmail)
  const groups = claims[settings.groupsClaim]
  return {
    issuer,
    subject,
    email: typeof email === 'string' && isVerified ? email.trim().toLowerCase() : null,
    name: [name, username].map(cleanName).find((text) => text !== '') ?? null,
    picture: typeof picture === 'string' && /^https:\/\//.test(picture) ? picture : null,
    groups: (Array.isArray(groups) ? groups : [groups]).filter((group): group is string => typeof group === 'string'),
  }
}

/** Says by its reason what the libraries say in many ways. */
async function reaching<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ProviderError) throw error
    if (error instanceof oidc.AuthorizationResponseError)
      throw new ProviderError('denied', `The provider refused: ${error.error}.`, { cause: error })
    throw new ProviderError(isAway(error) ? 'unreachable' : 'invalid', wordsOf(error), { cause: error })
  }
}

const awayCodes = new Set(['OAUTH_TIMEOUT', 'OAUTH_RESPONSE_IS_NOT_CONFORM', 'ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC'])

const isAway = (error: unknown): boolean =>
  error instanceof Error &&
  ((error instanceof TypeError && error.message === 'fetch failed') ||
    ('code' in error && awayCodes.has(String(error.code))))

/** Of the error and of what lies behind it; none of them holds a token. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}

/** As names are kept here: on one line, and not too long. */
const cleanName = (text: unknown): string =>
  typeof text === 'string'
    ? text
        .toWellFormed()
        .replace(/\p{Cc}+/gu, ' ')
        .trim()
        .slice(0, 200)
        .toWellFormed()
    : ''
