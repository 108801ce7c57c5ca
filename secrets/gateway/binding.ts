// From where a run's credential may be used: its sandbox, as far as that can be told from here.
import type http from 'node:http'
import { networkInterfaces } from 'node:os'
import type { CredentialBinding } from '../../domain/host-api.ts'
import { hashOfSecret } from '../../store/secret-hash.ts'
import { isPeerInNamespace } from './peer-process.ts'

/** By which the relay of a host says for which of its sandboxes it asks. */
export const PASS_HEADER = 'x-ambient-pass'

export type Place = 'inside' | 'outside' | 'not yet'

/**
 * Whether a call comes from where its credential belongs. `claim` binds one that
 * is good where it is used first: it answers with the address that it is bound to.
 */
export async function placeOf(
  binding: CredentialBinding | null,
  request: http.IncomingMessage,
  claim: (address: string) => Promise<string>,
): Promise<Place> {
  if (binding === null) return 'inside'
  const peer = peerOf(request)
  switch (binding.kind) {
    case 'nowhere':
      return 'not yet'
    case 'address':
      return inside(peer === binding.address)
    case 'pass': {
      const pass = request.headers[PASS_HEADER]
      return inside(typeof pass === 'string' && hashOfSecret(pass) === binding.hash)
    }
    case 'machine':
      return inside(isOwnAddress(peer))
    case 'namespace':
      return inside(isOwnAddress(peer) && (await isPeerInNamespace(request.socket, binding.id)))
    case 'first':
      return inside((await claim(peer)) === peer)
  }
}

const inside = (is: boolean): Place => (is ? 'inside' : 'outside')

/** The address at the other end of its connection. */
export const peerOf = (request: http.IncomingMessage): string =>
  (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')

export function isOwnAddress(address: string): boolean {
  if (address.startsWith('127.') || address === '::1') return true
  return Object.values(networkInterfaces()).some((all) => all?.some((own) => own.address === address))
}
