// Where the sandboxes of a host find the model gateway, when nobody has said so.
import { lookup } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import { type Config, serverUrl } from '../config.ts'

/**
 * The setting; else on this machine, by the address that sandboxes have for it,
 * when the server is there too; else beside the server.
 */
export async function gatewayUrl(
  config: Pick<Config, 'AMBIENT_GATEWAY_URL' | 'AMBIENT_URL' | 'AMBIENT_PORT'>,
  loopback: string,
  port: number,
): Promise<string> {
  if (config.AMBIENT_GATEWAY_URL !== undefined) return config.AMBIENT_GATEWAY_URL
  const { hostname } = new URL(serverUrl(config))
  return (await isThisMachine(hostname)) ? `http://${loopback}:${port}` : `http://${hostname}:${port}`
}

async function isThisMachine(hostname: string): Promise<boolean> {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address) ?? [])
  const found = await lookup(hostname.replace(/^\[|\]$/g, ''), { all: true }).catch(() => []) // Unknown here: elsewhere.
  return found.some(({ address }) => address.startsWith('127.') || address === '::1' || own.includes(address))
}
