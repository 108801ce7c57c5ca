// What the person hands over: prompts, variables, ids.
import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { typed } from '../config.ts'
import type { Api } from './api/client.ts'
import { usageError } from './exit.ts'

/** The prompt from the argument, a file, or stdin (`-`, or anything piped in); null where there is none. */
export async function readPrompt(
  argument: string | undefined,
  file: string | undefined,
  stdin: NodeJS.ReadStream = process.stdin,
): Promise<string | null> {
  if (argument !== undefined && argument !== '-' && file !== undefined) {
    throw usageError('Both a prompt and --file are given.', 'Give one of them.')
  }
  if (argument !== undefined && argument !== '-') return filled(argument, 'The prompt')
  if (file !== undefined && file !== '-') {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw usageError(`The prompt file ${file} cannot be read (${error.code}).`)
    })
    return filled(text, `The file ${file}`)
  }
  if (argument === '-' || file === '-') return filled(await readAll(stdin), 'The prompt from stdin')
  return stdin.isTTY ? null : (await readAll(stdin)).trim() || null
}

function filled(text: string, what: string): string {
  if (text.trim() === '') throw usageError(`${what} is empty.`)
  return text
}

/** `K=V`, or `K` for the caller's own value. */
export function readEnv(
  pairs: readonly string[],
  callerVariable: (name: string) => string | undefined,
): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf('=')
      if (equals > 0) return [pair.slice(0, equals), pair.slice(equals + 1)]
      const value = callerVariable(pair)
      if (equals === 0 || value === undefined) {
        throw usageError(
          `--env ${pair}: ${equals === 0 ? 'it has no name' : 'that variable is not set here'}.`,
          'Write --env NAME=value, or --env NAME for a variable that is set.',
        )
      }
      return [pair, value]
    }),
  )
}

export function readMetadata(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf('=')
      if (equals <= 0) throw usageError(`--metadata ${pair}: write it as key=value.`)
      return [pair.slice(0, equals), pair.slice(equals + 1)]
    }),
  )
}

/** What `--saved-prompt` and `--arg` say; undefined where there is none. */
export function savedPromptOf({ savedPrompt, arg = [] }: { savedPrompt?: string; arg?: string[] }) {
  if (savedPrompt === undefined) {
    if (arg.length > 0) throw usageError('--arg is the argument of a --saved-prompt.')
    return undefined
  }
  const pairs = arg.map((pair) => {
    const equals = pair.indexOf('=')
    if (equals <= 0) throw usageError(`--arg ${pair}: write it as name=value.`)
    return [pair.slice(0, equals), pair.slice(equals + 1)]
  })
  const which = /^[A-Za-z0-9]{22}$/.test(savedPrompt) ? { uid: savedPrompt } : { name: savedPrompt }
  return { ...which, arguments: Object.fromEntries(pairs) as Record<string, string> }
}

/** `group:limit`. A group's name may have colons of its own. */
export function readConcurrency(text: string): { group: string; limit: number } {
  const [, group, limit] = /^(.+):(\d+)$/.exec(text) ?? []
  if (group === undefined || Number(limit) < 1) {
    throw usageError(`--concurrency ${text}: write it as group:limit.`, 'For one run at a time: staging-database:1')
  }
  return { group, limit: Number(limit) }
}

/** As a shell takes it for one word. */
export const quoted = (word: string) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const PREFIX = /^[0-9a-f-]{4,36}$/

/** The id of the one run that is meant by an id or its beginning. */
export async function findRun(api: Api, given: string): Promise<string> {
  const text = given.trim().toLowerCase()
  if (UUID.test(text)) return text
  if (!PREFIX.test(text))
    throw usageError(
      `"${given}" is not the id of a run.`,
      `An id, or its first four characters or more: see ${typed} runs.`,
    )
  const ofTeam = await runsWithId(api, text, false)
  // Of another team, and shared with whoever asks.
  const found = ofTeam.length > 0 ? ofTeam : await runsWithId(api, text, true)
  const [run, ...others] = found
  if (!run) throw usageError(`There is no run whose id begins with ${text}.`, `${typed} runs lists them.`)
  if (others.length > 0) {
    const list = found.map(({ run_id, title }) => `  ${run_id}  ${title}`).join('\n')
    throw usageError(`${found.length} runs have an id that begins with ${text}:\n${list}`, 'Give more of it.')
  }
  return run.run_id
}

async function runsWithId(api: Api, prefix: string, shared: boolean): Promise<{ run_id: string; title: string }[]> {
  const found: { run_id: string; title: string }[] = []
  let cursor: string | undefined
  do {
    // The search also finds what has the text in its title.
    const page = await api.list({ limit: 500, cursor, q: prefix, shared })
    found.push(...page.runs.filter(({ run_id }) => run_id.startsWith(prefix)))
    cursor = page.page_info.has_next_page ? (page.page_info.next_cursor ?? undefined) : undefined
  } while (cursor !== undefined)
  return found
}
