// Commits of the agent's go to a branch of their repository's server.
//
// The sandbox has no credentials, and git is never run in a repository that an
// agent has been in: the commits come out of it in a bundle, into a repository
// of the host's own, and are pushed from there. Repeated, it changes nothing.
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { RunFailureError } from '../../domain/failure.ts'
import type { PushResult } from '../../domain/host-api.ts'
import { openRegular, UntrustedFileError } from '../no-links.ts'
import { isPassingTrouble } from '../passing-trouble.ts'
import { PUSH_BYTES } from '../work-product/work-product.ts'
import { type GitAccess, gitOptions, type Remote, remoteOf } from './access.ts'
import { commitOf } from './check-out.ts'
import type { CloneContext } from './clone.ts'
import { isDenied } from './failures.ts'
import { type GitOptions, type GitResult, git } from './git.ts'
import { withMirror } from './mirror.ts'

/** All attempts together; the run's end waits for it. In milliseconds. */
const PUSH_MS = 10 * 60_000
/** Between attempts while the server is away; in milliseconds. */
const PAUSES = [2_000, 10_000]
/** Of what git and the server say, at most this is told. */
const SAID_CHARS = 1_000

const PUSHED = 'refs/ambient/push'

export interface PushOptions extends Omit<CloneContext, 'parent' | 'onProgress'> {
  url: string
  branch: string
  /** The commit of the branch, as the sandbox says. */
  commit: string
  /** The commit that the clone was made at; null where the repository was empty. */
  cloned: string | null
  /** As the sandbox has left it: it is opened with distrust. */
  bundle: string
  /** The clone's history does not go back to the beginning. */
  isShallow: boolean
  /** A directory of the host's own. */
  staging: string
  /** Between attempts while the server is away; in milliseconds. */
  pauses?: readonly number[]
}

/** Never throws but for its signal's reason: what went wrong is in the answer. */
export async function pushBranch(options: PushOptions): Promise<PushResult> {
  const { branch, commit, signal: outer } = options
  const deadline = AbortSignal.timeout(PUSH_MS)
  const signal = AbortSignal.any([outer, deadline])
  const told = ({ outcome, message }: Outcome): PushResult => ({ branch, commit, outcome, message })
  for (const pause of [...(options.pauses ?? PAUSES), null]) {
    const directory = join(options.staging, `push-${randomUUID()}`)
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const outcome = await pushFrom(directory, { ...options, signal })
      if (!outcome.isPassing || pause === null) return told(outcome)
      await sleep(pause, undefined, { signal })
    } catch (error) {
      outer.throwIfAborted()
      if (deadline.aborted) return told(failed(`It took longer than ${PUSH_MS / 60_000} minutes.`))
      const isPassing = error instanceof RunFailureError && error.failure.code === 'repository_unavailable'
      if (!isPassing || pause === null) return told(failed(reasonOf(error)))
      await sleep(pause, undefined, { signal: outer })
    } finally {
      await rm(directory, { recursive: true, force: true, maxRetries: 3 })
    }
  }
  throw new Error('the last attempt is told whatever comes of it')
}

/** `isPassing`: it may succeed a moment later. */
type Outcome = Pick<PushResult, 'outcome' | 'message'> & { isPassing?: boolean }

function reasonOf(error: unknown): string {
  if (!(error instanceof RunFailureError)) return `The commits could not be made ready to be pushed: ${String(error)}`
  const { message, nextStep } = error.failure
  return nextStep === undefined ? message : `${message} ${nextStep}`
}

const failed = (message: string): Outcome => ({ outcome: 'failed', message })

async function pushFrom(attempt: string, options: PushOptions): Promise<Outcome> {
  const { url, access, signal, branch, commit, bundle } = options
  const own = join(attempt, 'commits.bundle')
  const trouble = await copyBundle(bundle, own, signal)
  if (trouble !== null) return failed(trouble)
  const remote = await remoteOf(url, access)
  const repository = join(attempt, 'repository.git')
  const quietly = gitOptions(remote, access, { cwd: attempt, signal })
  await makeRepository(repository, remote, options, quietly)
  const inside = { ...quietly, cwd: repository }
  const fetched = await git(['fetch', '--quiet', '--no-tags', '--', own, `+refs/heads/${branch}:${PUSHED}`], {
    ...inside,
    credentials: null,
  })
  if (fetched.code !== 0 || (await commitOf(PUSHED, inside)) !== commit) {
    return failed(`The commits of ${branch} could not be taken out of the sandbox. ${tail(fetched.stderr)}`.trim())
  }
  return push(remote, branch, access, inside)
}

/** @returns what is wrong with it. */
async function copyBundle(from: string, to: string, signal: AbortSignal): Promise<string | null> {
  try {
    const file = await openRegular(from)
    try {
      if ((await file.stat()).size > PUSH_BYTES) return `The commits are larger than ${PUSH_BYTES / 1024 ** 3} GiB.`
      const content = file.createReadStream({ autoClose: false, start: 0, end: PUSH_BYTES })
      await pipeline(content, createWriteStream(to, { flags: 'wx', mode: 0o600 }), { signal })
      return null
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof UntrustedFileError) return 'Something else is in the place of the commits.'
    throw error
  }
}

/** It has what the commits lean on: from the mirror, or the one commit that the clone was made at. */
async function makeRepository(
  directory: string,
  remote: Remote,
  { access, team, signal, cloned, isShallow }: PushOptions,
  options: GitOptions,
): Promise<void> {
  // Links to the mirror's packs cost nothing, and nobody else ever sees this repository.
  const made =
    !isShallow &&
    (await withMirror({ remote, team, access, signal }, async (mirror) => {
      const args = ['clone', '--bare', '--quiet', '--template=', '--', mirror.directory, directory]
      return (await git(args, { ...mirror.git, cwd: options.cwd })).code === 0
    }))
  if (made !== true) {
    await rm(directory, { recursive: true, force: true })
    const format = cloned?.length === 64 ? 'sha256' : 'sha1'
    await git(['init', '--bare', '--quiet', '--template=', `--object-format=${format}`, directory], options)
  }
  const inside = { ...options, cwd: directory }
  if (cloned === null || (await commitOf(cloned, inside)) !== null) return
  const depth = made === true ? [] : ['--depth', '1']
  // Where the server does not give it, the next step says so.
  await git(['fetch', '--quiet', '--no-tags', ...depth, '--', remote.url, cloned], inside)
}

async function push(remote: Remote, branch: string, access: GitAccess, options: GitOptions): Promise<Outcome> {
  const args = ['push', '--porcelain', '--no-recurse-submodules', '--no-signed', '--no-follow-tags', '--']
  return outcomeOf(await git([...args, remote.url, `${PUSHED}:refs/heads/${branch}`], options), branch, access)
}

function outcomeOf({ code, stdout, stderr }: GitResult, branch: string, access: GitAccess): Outcome {
  if (code === 0) return { outcome: 'pushed', message: null }
  const refusal = /^!\t[^\t]*\t(.*)$/m.exec(stdout)?.[1]
  if (refusal !== undefined && /fetch first|non-fast-forward|stale info/.test(refusal)) {
    return {
      outcome: 'rejected',
      message: `The branch ${branch} on the server has commits that this one is not made from, and nothing is pushed by force. Start a run with \`ref: ${branch}\` to go on from them, or push to another branch.`,
    }
  }
  if (refusal !== undefined) {
    return { outcome: 'rejected', message: `The server did not take ${branch}: ${refusal}. ${said(stderr)}`.trim() }
  }
  if (isDenied(stderr, access)) {
    return {
      outcome: 'rejected',
      message:
        `The host may not push to this repository: give it a token or key that may write. ${tail(stderr)}`.trim(),
    }
  }
  return { ...failed(`The push did not succeed. ${tail(stderr)}`.trim()), isPassing: isPassingTrouble(stderr) }
}

const tail = (text: string) => text.trim().slice(-SAID_CHARS)

/** What the server itself has said. */
const said = (stderr: string) =>
  tail(
    stderr
      .split('\n')
      .filter((line) => line.startsWith('remote:'))
      .map((line) => line.slice('remote:'.length).trim())
      .filter((line) => line !== '')
      .join('\n'),
  )
