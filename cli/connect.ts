// Where the server is and by which key it is spoken to.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Config, dataPaths, loadConfig, root, serverUrl } from '../config.ts'
import { type Api, createApi } from './api/client.ts'
import { CliError, exitCodes } from './exit.ts'

/** @throws {CliError} when there is no key; {@link createApi} says it when there is no server. */
export function connect(config: Config = loadConfig()): Api {
  const url = serverUrl(config)
  return createApi({ url, key: apiKey(config), team: config.AMBIENT_TEAM, unreachableHint: startHint(url) })
}

/** True where the server's address is this machine's own: only then can its hosts see local paths. */
export const isLocal = (url: string) => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(new URL(url).hostname)

const startHint = (url: string) =>
  isLocal(url)
    ? `Start it with: npm start (in ${resolve(root)})`
    : 'AMBIENT_URL says where the server is; on its machine, `npm start` starts it.'

function apiKey(config: Config): string {
  if (config.AMBIENT_API_KEY) return config.AMBIENT_API_KEY
  if (config.AMBIENT_ADMIN_KEY) return config.AMBIENT_ADMIN_KEY
  const path = dataPaths(config).adminKey
  try {
    const key = readFileSync(path, 'utf8').trim()
    if (key) return key
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      throw new CliError(exitCodes.unauthorised, `The admin key in ${path} cannot be read (${code}).`, {
        hint: 'Set AMBIENT_API_KEY, or run this as the user who started Ambient.',
        cause: error,
      })
    }
  }
  throw new CliError(
    exitCodes.unauthorised,
    `There is no API key: AMBIENT_API_KEY is not set, and ${path} is not there.`,
    {
      hint: `The first start makes one: npm start (in ${resolve(root)}). For a server elsewhere, set AMBIENT_URL and AMBIENT_API_KEY.`,
    },
  )
}
