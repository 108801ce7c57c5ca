// Cookies: read, set, and taken back.
import type { Request, Response } from 'express'
import { type Config, publicUrl } from '../../config.ts'

type Addresses = Pick<Config, 'AMBIENT_PUBLIC_URL' | 'AMBIENT_URL' | 'AMBIENT_PORT'>

/** What is named so belongs to this server alone: no other host below the same domain can have set it. */
const nameOf = (config: Addresses, name: string) => (isSecure(config) ? `__Host-ambient_${name}` : `ambient_${name}`)

const isSecure = (config: Addresses) => publicUrl(config).startsWith('https:')

export function readCookie(config: Addresses, request: Request, name: string): string | null {
  const wanted = `${nameOf(config, name)}=`
  const pairs = (request.get('cookie') ?? '').split(';').map((pair) => pair.trim())
  return pairs.find((pair) => pair.startsWith(wanted))?.slice(wanted.length) || null
}

export function setCookie(
  config: Addresses,
  response: Response,
  { name, value, seconds }: { name: string; value: string; seconds: number },
): void {
  const attributes = [
    'Path=/',
    `Max-Age=${seconds}`,
    'HttpOnly',
    'SameSite=Lax',
    ...(isSecure(config) ? ['Secure'] : []),
  ]
  response.append('set-cookie', [`${nameOf(config, name)}=${value}`, ...attributes].join('; '))
}

export const clearCookie = (config: Addresses, response: Response, name: string): void =>
  setCookie(config, response, { name, value: '', seconds: 0 })
