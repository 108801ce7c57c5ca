// Where a sealed value stands in a JSON text in the place of the plain one: values of inline variables, credentials of repositories.

/** What a sealed value begins with. What people send is never taken for one: it is sealed whatever it begins with. */
export const SEALED_MARK = 'ambient-sealed:'

/** After the mark: base64url, so that it fits into a URL as well. */
export const sealedText = (sealed: Buffer): string => `${SEALED_MARK}${sealed.toString('base64url')}`

/** Null for what is no sealed value: it was stored before values were sealed. */
export function sealedBytes(text: string): Buffer | null {
  return text.startsWith(SEALED_MARK) ? Buffer.from(text.slice(SEALED_MARK.length), 'base64url') : null
}
