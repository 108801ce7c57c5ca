// The tokens of the settings, which are for the runs of all teams.
import { readFile } from 'node:fs/promises'
import type { Config } from '../../config.ts'
import { type ForgeName, forgeHomes } from '../../domain/git/forge-name.ts'
import { parseTokens } from '../../domain/git/forge-tokens.ts'
import { UpstreamError } from './upstream.ts'

export interface TokenServer {
  forge: ForgeName
  /** `https://host[:port][/path]` */
  address: string
  token: string
}

type TokenSettings = Pick<
  Config,
  'AMBIENT_GITHUB_TOKEN' | 'AMBIENT_GITHUB_TOKEN_FILE' | 'AMBIENT_GITLAB_TOKEN' | 'AMBIENT_GITLAB_TOKEN_FILE'
>

/** Files are read each time, so that they may change. @throws {UpstreamError} where one cannot be read. */
export async function tokenServers(config: TokenSettings): Promise<TokenServer[]> {
  const settings = {
    github: { text: config.AMBIENT_GITHUB_TOKEN, file: config.AMBIENT_GITHUB_TOKEN_FILE },
    gitlab: { text: config.AMBIENT_GITLAB_TOKEN, file: config.AMBIENT_GITLAB_TOKEN_FILE },
  }
  const each = await Promise.all(
    (Object.keys(forgeHomes) as ForgeName[]).map(async (forge) => {
      const { text = '', file } = settings[forge]
      const kept = file === undefined ? '' : await readTokens(file)
      return parseTokens(`${text}\n${kept}`).map(({ server, token }) => ({
        forge,
        address: server ?? `https://${forgeHomes[forge]}`,
        token,
      }))
    }),
  )
  return each.flat()
}

async function readTokens(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new UpstreamError(`The file of tokens ${file} cannot be read.`, { cause: error })
  }
}
