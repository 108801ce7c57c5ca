// Runs on the worker that holds the sandbox. The way to the git broker: the host's own, and that of the programs in the sandbox.
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { brokerUrl, placeUrl } from '../../domain/git/url.ts'
import type { BrokeredRepository } from '../../domain/host-api.ts'
import { isErrno } from '../../environments/errno.ts'
import type { GitAccess } from '../../environments/git/access.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeHomeFiles } from '../../environments/inside-directory.ts'
import { bindingOf } from './binding.ts'
import type { Execution } from './execution.ts'

const DIRECTORY = '.ambient/git'
const INCLUDE = `[include]\n\tpath = ~/${DIRECTORY}/config\n`
/** Longer ones of a person's are none. */
const CONFIG_BYTES = 1024 * 1024

/** How the host gets at the repositories of a run or a build. Asked for where it is about to: what it is given is good for some time. */
export async function gitAccessOf(execution: Execution): Promise<GitAccess> {
  const { deps, order } = execution
  // What their URLs have as credentials is used as it is.
  if (!order.git.some(({ by }) => by !== 'url')) return deps.git
  const token = await hostToken(execution)
  return { ...deps.git, broker: { gateway: deps.brokerUrl, token, repositories: order.git } }
}

const hostToken = ({ deps, ref, isBuild, stop }: Execution): Promise<string> =>
  isBuild
    ? deps.server.buildGitCredential(ref.runId, stop)
    : deps.server.gitCredential(ref.runId, ref.execution, { forHost: true, binding: null }, stop)

/**
 * Has git in the sandbox reach the run's repositories through the broker, under
 * their own URLs. The token is in a file, since agents hide variables from the
 * commands that they run. Once for each sandbox.
 */
export async function placeGitAccess(execution: Execution, sandbox: Sandbox): Promise<void> {
  const { deps, ref, order, state, isBuild, stop } = execution
  if (order.git.length === 0 || state.get().gitIn === sandbox.generation) return
  const binding = deps.bindsCredentials && !isBuild ? await bindingOf(sandbox, deps.gatewayUrl) : null
  const token = isBuild
    ? await deps.server.buildGitCredential(ref.runId, stop)
    : await deps.server.gitCredential(ref.runId, ref.execution, { forHost: false, binding }, stop)
  const gateway = sandbox.gateway ?? deps.gatewayUrl
  const own = await globalConfig(state.paths.home)
  const files = [
    { path: `${DIRECTORY}/token`, content: `${token}\n` },
    { path: `${DIRECTORY}/config`, content: brokerConfig(gateway, order.git) },
    ...(own?.includes(INCLUDE) ? [] : [{ path: '.gitconfig', content: `${INCLUDE}${own ?? ''}` }]),
  ]
  await writeHomeFiles(state.paths, files, sandbox.owner)
  await state.set({ gitIn: sandbox.generation })
}

/** What is kept of a sandbox, and given to others, has no token. */
export async function removeGitToken({ state }: Execution, sandbox: Sandbox): Promise<void> {
  if (state.get().gitIn !== sandbox.generation) return
  await writeHomeFiles(state.paths, [{ path: `${DIRECTORY}/token`, content: '' }], sandbox.owner)
  await state.set({ gitIn: 0 })
}

/** The user's configuration in a home that its sandbox writes to; null where there is none that may be read. */
async function globalConfig(home: string): Promise<string | null> {
  try {
    await using file = await open(
      join(home, '.gitconfig'),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    )
    const { buffer, bytesRead } = await file.read(Buffer.alloc(CONFIG_BYTES), 0, CONFIG_BYTES, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ELOOP', 'EISDIR')) return null
    throw error
  }
}

/**
 * Git compares the beginnings of addresses: what it asks the broker for by that
 * and is not the run's is asked for there as anybody may. The helper stands for all
 * others at this address, so that none of a person's keeps the token.
 */
function brokerConfig(gateway: string, repositories: readonly BrokeredRepository[]): string {
  const { origin } = new URL(gateway)
  const addresses = repositories.flatMap(({ url, place }) => {
    const whole = brokerUrl(gateway, place)
    const all = [...new Set([url, ...namesOf(place)])]
    const [long, short] = [all.filter((name) => name.endsWith('.git')), all.filter((name) => !name.endsWith('.git'))]
    return [
      ...[`[url ${quoted(whole)}]`, ...long.map((name) => `\tinsteadOf = ${quoted(name)}`)],
      ...[`[url ${quoted(whole.slice(0, -GIT.length))}]`, ...short.map((name) => `\tinsteadOf = ${quoted(name)}`)],
    ]
  })
  return [
    ...addresses,
    `[credential ${quoted(origin)}]`,
    '\thelper =',
    `\thelper = ${quoted(HELPER)}`,
    `[http ${quoted(origin)}]`,
    '\tproxy =',
    `[lfs ${quoted(`${origin}/`)}]`,
    '\tlocksverify = false',
    '',
  ].join('\n')
}

const GIT = '.git'

/** The ways in which people and tools write where a repository is. */
function namesOf(place: BrokeredRepository['place']): string[] {
  const { host, path } = place
  const [long, short] = [placeUrl(place), placeUrl(place).slice(0, -GIT.length)]
  // On another port than the usual one there is another server.
  const ssh = host.includes(':') ? [] : [`git@${host}:${path}`, `ssh://git@${host}/${path}`]
  return [long, short, ...ssh.flatMap((name) => [`${name}${GIT}`, name])]
}

const HELPER = `!f() { test "$1" = get && echo username=ambient && printf "password=%s\\n" "$(cat ~/${DIRECTORY}/token)"; }; f`

const quoted = (text: string) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
