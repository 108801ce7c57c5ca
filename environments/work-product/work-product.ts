// The work product of a run: what became of each repository since the set-up was done.
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { RepositoryResult } from '../../domain/host-api.ts'
import type { Journal } from '../../domain/journal.ts'
import { keepBaseline } from '../checkpoint/baseline.ts'
import { isErrno } from '../errno.ts'
import type { ClonedRepository } from '../git/repositories.ts'
import type { Sandbox } from '../host.ts'
import { jobPaths, readBounded } from '../job-directory.ts'
import { UntrustedFileError } from '../no-links.ts'
import type { RunPaths } from '../run-directory.ts'
import { COLLECT_SCRIPT, START_SCRIPT } from './scripts.ts'

/** A job that says 3 has found no git in the image. */
export const NO_GIT = 3
/** By this a job says that its time was over. */
const TOO_LONG = 124
/** Git has this long to say what became of the repositories: hostile settings can keep it busy for ever. In seconds. */
const GIT_SECONDS = 300
/** So much later it is not the sandbox that counts it. */
const SLACK_SECONDS = 15
/** More commits than this are in the bundle, and not in the list. */
const LISTED_COMMITS = 500
const FACTS_BYTES = 64 * 1024
const LOG_BYTES = 4 * 1024 * 1024
const SUBJECT_CHARS = 1_000
const NOTE_CHARS = 500
/** It stays on this machine until it is pushed; servers take less in one push. */
export const PUSH_BYTES = 1024 ** 3
/** Of what a look says, at most this is kept. */
const OUTPUT_CHARS = 1024 * 1024

const hash = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
export const Hash = z.string().regex(hash)

/** A repository as it was when the set-up was done. Null where there was no commit, or no git to ask. */
export const RepositoryStart = z.object({
  path: z.string(),
  url: z.string(),
  base: Hash.nullable(),
  tree: Hash.nullable(),
})
export type RepositoryStart = z.infer<typeof RepositoryStart>

const startFile = (paths: RunPaths) => join(paths.root, 'start.json')

export interface LookOptions {
  sandbox: Sandbox
  paths: RunPaths
  /** The workspace as the sandbox sees it. */
  workspace: string
  signal: AbortSignal
}

/**
 * Notes how the repositories are before the agent begins. Called again it
 * changes nothing, whatever the agent has done meanwhile.
 */
export async function startSnapshot(
  options: LookOptions & { repositories: readonly ClonedRepository[] },
): Promise<RepositoryStart[]> {
  const { paths, repositories } = options
  const known = await readStart(paths)
  if (known !== null) return known
  const found = new Map<number, { base: string | null; tree: string | null }>()
  if (repositories.length > 0) {
    // By its generation: a job that went down with its sandbox cannot be run again under its id.
    const id = `start-snapshot-${options.sandbox.generation}`
    const at = Date.now()
    const { code, lines } = await look(options, {
      id,
      script: START_SCRIPT,
      args: ['0', ...repositories.map(({ path }) => path)],
      seconds: GIT_SECONDS,
    })
    if (code !== 0 && code !== NO_GIT)
      throw lookFailed('The state of the repositories could not be noted.', code, lines)
    for (const line of lines) {
      const match = /^start (\d+) (\S+) (\S+)$/.exec(line)
      if (match) found.set(Number(match[1]), { base: hashOrNull(match[2]), tree: hashOrNull(match[3]) })
    }
    await keepBaseline(paths, jobPaths(paths, id), at)
  }
  const start = repositories.map(({ path, url }, index) => ({
    path,
    url,
    ...(found.get(index) ?? { base: null, tree: null }),
  }))
  await writeStart(paths, start)
  return start
}

/** Another host's note of how the repositories were takes the place of one of our own. */
export async function writeStart(paths: RunPaths, start: readonly RepositoryStart[]): Promise<void> {
  const draft = `${startFile(paths)}.draft`
  await writeFile(draft, JSON.stringify(start), { mode: 0o600 })
  await rename(draft, startFile(paths))
}

export const hashOrNull = (text: string | undefined): string | null =>
  text !== undefined && hash.test(text) ? text : null

/** Null before {@link startSnapshot}. */
export async function readStart(paths: RunPaths): Promise<RepositoryStart[] | null> {
  try {
    return z.array(RepositoryStart).parse(JSON.parse(await readFile(startFile(paths), 'utf8')))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

/**
 * What has become of the repositories since {@link startSnapshot}; nothing when
 * that was never made. Under the same `id` it answers the same, so each
 * collection needs one of its own.
 */
export async function collectResult(
  options: LookOptions & {
    id: string
    maxBytes: number
    branches?: Readonly<Record<string, BranchToPush>>
    /** How long git may take. */
    seconds?: number
  },
): Promise<RepositoryResult[]> {
  const start = await readStart(options.paths)
  if (start === null || start.length === 0) return []
  const { seconds = GIT_SECONDS } = options
  const { code, lines } = await look(options, {
    id: options.id,
    script: COLLECT_SCRIPT,
    // One byte more than may be kept, so that what is too large is known for it.
    args: [
      String(options.maxBytes + 1),
      String(PUSH_BYTES + 1),
      ...start.flatMap(({ path, base, tree }) => {
        const push = options.branches?.[path]
        return [path, base ?? '-', tree ?? '-', push?.branch ?? '-', push?.cloned ?? '-']
      }),
    ],
    seconds,
  })
  if (code === NO_GIT) return start.map((each) => ({ ...nothingKnown(each), note: 'the image has no git to ask' }))
  if (code === TOO_LONG) {
    const note = `git was asked for ${seconds} s what has become of it, and did not say`
    return start.map((each) => ({ ...nothingKnown(each), note }))
  }
  if (code !== 0) throw lookFailed('The changes could not be collected.', code, lines)
  const { own } = jobPaths(options.paths, options.id)
  const results: RepositoryResult[] = []
  for (const [index, repository] of start.entries()) {
    results.push(await readResult(join(own, String(index)), repository, options.maxBytes))
  }
  return results
}

/** The branch of a repository whose commits are to be pushed, and the commit that was cloned, which its server has. */
export interface BranchToPush {
  branch: string
  cloned: string | null
}

/**
 * What a collection has found to push in the repository at `path`: the branch's
 * commit, a bundle that the sandbox's user can write over, and what its
 * submodules have that is not pushed, in words. Null where there are no new commits.
 */
export async function collectedPush(
  paths: RunPaths,
  id: string,
  path: string,
): Promise<{ commit: string; bundle: string; submodules: string | null } | null> {
  const start = await readStart(paths)
  const index = start?.findIndex((repository) => repository.path === path) ?? -1
  if (index < 0) return null
  const prefix = join(jobPaths(paths, id).own, String(index))
  const { push, submodules } = parseFacts(await readText(`${prefix}.facts`, FACTS_BYTES))
  return push === null ? null : { commit: push, bundle: `${prefix}.push`, submodules }
}

interface Look {
  id: string
  script: string
  args: string[]
  /** It is ended after this, where the image knows how. Absent: never. */
  seconds?: number
}

// $0 is the time, the rest a program for the shell with its arguments.
const WITHIN_TIME = 'command -v timeout >/dev/null && exec timeout -k 5 "$0" /bin/sh -c "$@"; exec /bin/sh -c "$@"'

/** Runs one of our scripts in the sandbox; the job's files are in its own directory. */
export async function look(
  options: LookOptions,
  { id, script, args, seconds }: Look,
): Promise<{ code: number; lines: string[] }> {
  const job = await options.sandbox.job({
    id,
    command: [
      '/bin/sh',
      '-c',
      ...(seconds === undefined ? [] : [WITHIN_TIME, String(seconds)]),
      script,
      'ambient',
      options.workspace,
      ...args,
    ],
    env: {},
    cwd: '/',
  })
  const time = seconds === undefined ? null : AbortSignal.timeout((seconds + SLACK_SECONDS) * 1000)
  const lines = await linesOf(job, time === null ? options.signal : AbortSignal.any([options.signal, time]))
  options.signal.throwIfAborted()
  // What an agent has left there can stop the very program that counts the time.
  if (time?.aborted) throw lookFailed('What was to be looked at in the sandbox was not to be had in time.', 137, [])
  return { code: (await job.exit())?.code ?? 137, lines }
}

async function linesOf(job: Journal, signal: AbortSignal): Promise<string[]> {
  const lines: string[] = []
  let room = OUTPUT_CHARS
  for await (const batch of job.read(0, signal)) {
    for (const { text } of batch) {
      // The sandbox's user can write into the job's output as well.
      room -= text.length
      if (room >= 0) lines.push(text)
    }
  }
  return lines
}

function lookFailed(message: string, code: number, lines: string[]): RunFailureError {
  return new RunFailureError({
    code: code === 137 ? 'sandbox_lost' : 'internal_error',
    phase: 'collect',
    message,
    exitCode: code,
    logTail: logTail(lines.join('\n')),
  })
}

function nothingKnown({ path, url, base }: RepositoryStart): RepositoryResult {
  return {
    path,
    url,
    base_commit: base,
    head_commit: null,
    branch: null,
    commits: [],
    files_changed: 0,
    insertions: 0,
    deletions: 0,
    patch: null,
    bundle: null,
    note: null,
    push: null,
  }
}

async function readResult(prefix: string, start: RepositoryStart, maxBytes: number): Promise<RepositoryResult> {
  const facts = parseFacts(await readText(`${prefix}.facts`, FACTS_BYTES))
  const log = await readFileOf(`${prefix}.log`, LOG_BYTES)
  const commits = parseCommits(textOf(log))
  const patch = await readFileOf(`${prefix}.patch`, maxBytes)
  const bundle = await readFileOf(`${prefix}.bundle`, maxBytes)
  const notes = facts.notes
  if (log === 'too large') notes.push(`its list of commits is larger than ${megabytes(LOG_BYTES)} and was not read`)
  if (commits.length > LISTED_COMMITS) notes.push(`only the last ${LISTED_COMMITS} commits are listed`)
  if (patch === 'too large') notes.push(`the diff is larger than ${megabytes(maxBytes)} and was not kept`)
  if (bundle === 'too large') notes.push(`the commits are larger than ${megabytes(maxBytes)} and were not kept`)
  return {
    ...nothingKnown(start),
    head_commit: facts.head,
    branch: facts.branch,
    commits: commits.slice(0, LISTED_COMMITS),
    ...facts.stat,
    patch: patch === 'too large' ? null : (patch?.toString('base64') ?? null),
    bundle: bundle === 'too large' || !bundle?.length ? null : bundle.toString('base64'),
    note: notes.length > 0 ? [...new Set(notes)].join('; ') : null,
  }
}

const megabytes = (bytes: number) => `${Math.floor((bytes / 1024 / 1024) * 10) / 10} MiB`

/** What the job left, or null; anything but a regular file in its place counts as nothing. */
async function readFileOf(path: string, limit: number): Promise<Buffer | 'too large' | null> {
  try {
    return await readBounded(path, limit)
  } catch (error) {
    if (error instanceof UntrustedFileError) return null
    throw error
  }
}

export const readText = async (path: string, limit: number) => textOf(await readFileOf(path, limit))

const textOf = (content: Buffer | 'too large' | null): string =>
  content === null || content === 'too large' ? '' : content.toString('utf8').replaceAll('\0', '')

function parseFacts(text: string) {
  const values = (name: string) =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `))
      .map((line) => line.slice(name.length + 1))
  const stat = values('stat')[0] ?? ''
  const count = (pattern: RegExp) => Number(pattern.exec(stat)?.[1] ?? 0)
  return {
    head: hashOrNull(values('head')[0]),
    branch: values('branch')[0] || null,
    push: hashOrNull(values('push')[0]),
    submodules: values('submodules')[0]?.slice(0, NOTE_CHARS) || null,
    stat: {
      files_changed: count(/(\d+) files? changed/),
      insertions: count(/(\d+) insertions?\(\+\)/),
      deletions: count(/(\d+) deletions?\(-\)/),
    },
    notes: values('note').map((note) => note.slice(0, NOTE_CHARS)),
  }
}

function parseCommits(text: string): RepositoryResult['commits'] {
  return text.split('\n').flatMap((line) => {
    const [commit = '', author = '', time = '', ...subject] = line.split('\x1f')
    const whole = subject.join('\x1f')
    const short = whole.length > SUBJECT_CHARS ? `${whole.slice(0, SUBJECT_CHARS)}…` : whole
    return hash.test(commit) ? [{ commit, author, time, subject: short.toWellFormed() }] : []
  })
}
