// By what a receiver knows that a delivery comes from here.
import { createHmac } from 'node:crypto'

/**
 * The secret of a webhook: made from the server's key, so that nobody has to
 * keep it. `number` counts the secrets that the webhook has had.
 */
export const secretOf = (key: string, { id, number }: { id: string; number: number }): string =>
  `whsec_${createHmac('sha256', key).update(`ambient webhook\n${id}\n${number}`).digest('base64url')}`

/** The header `X-Ambient-Signature`, of a body at a time in seconds since 1970. */
export const signature = (secret: string, time: number, body: string): string =>
  `t=${time},v1=${createHmac('sha256', secret).update(`${time}.${body}`).digest('hex')}`
