// Why somebody does not get in: what they are told, and the word that the audit log has for it.
import { type RefusalReason, SignInRefusedError } from '../../store/accounts/sign-in.ts'
import { HttpError } from '../errors.ts'

/** The provider did not answer, or not with what proves who somebody is. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  /** `unreachable`: another try can help. `denied`: the provider let nobody in. */
  readonly reason: 'unreachable' | 'denied' | 'invalid'

  constructor(reason: ProviderError['reason'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** The browser did not begin what it comes back with. */
export class StrayCallbackError extends Error {
  override readonly name = 'StrayCallbackError'
}

const refusals: Readonly<Record<RefusalReason, string>> = {
  no_email: 'The provider names no e-mail address of yours that it has verified.',
  domain: 'Your e-mail address is of a domain that may not sign in here.',
  other_account:
    'Your e-mail address is that of somebody here who signs in with another account of the provider. An administrator can change it.',
  disabled: 'You have been disabled here by an administrator.',
  no_team: 'You are in no team here. Ask an administrator to add you.',
}

export interface SignInTrouble {
  problem: HttpError
  reason: string
  /** Who it is here, where that is known. */
  person: string | null
}

/** Null for what is no trouble of a sign-in's own. */
export function troubleOf(error: unknown): SignInTrouble | null {
  const told = (
    status: number,
    code: HttpError['code'],
    words: string,
    reason: string,
    person: string | null = null,
  ) => ({
    problem: new HttpError(status, code, words, { cause: error }),
    reason,
    person,
  })
  if (error instanceof SignInRefusedError)
    return told(403, 'not_authorized', refusals[error.reason], error.reason, error.person)
  if (error instanceof StrayCallbackError)
    return told(
      400,
      'invalid_request',
      'This sign-in was not begun in this browser, or it took too long. Begin again.',
      'stray',
    )
  if (!(error instanceof ProviderError)) return null
  switch (error.reason) {
    case 'unreachable':
      return told(
        503,
        'resource_unavailable',
        'The provider of identities does not answer. Try again in a moment.',
        'unreachable',
      )
    case 'denied':
      return told(403, 'not_authorized', 'The provider of identities did not let you in.', 'denied')
    case 'invalid':
      return told(
        400,
        'invalid_request',
        'What the provider of identities says does not prove who you are. Begin again.',
        'invalid',
      )
  }
}
