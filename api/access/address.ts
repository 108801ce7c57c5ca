// Where a request comes from.
import type { Request } from 'express'

/** The address of whoever asks, as far as the proxies in front are trusted to tell it. IPv4 is written as such. */
export const addressOf = (request: Pick<Request, 'ip'>): string =>
  (request.ip ?? '').replace(/^::ffff:(?=[\d.]+$)/i, '')
