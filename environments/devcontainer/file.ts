// A repository's devcontainer.json: found, read and checked. It is a stranger's: no link is followed on the way to it.
import { constants } from 'node:fs'
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises'
import { findNodeAtLocation, type ParseError, parse, parseTree, printParseErrorCode } from 'jsonc-parser'
import { z } from 'zod'
import { RunFailureError } from '../../domain/failure.ts'
import { issueWords } from '../../domain/issue-words.ts'
import { isErrno } from '../errno.ts'
import { openDirectory, within } from '../inside-directory.ts'

/** The file is written by people. */
const FILE_BYTES = 1024 * 1024

const NAMED_FOLDERS = '.devcontainer'
const PLACES = ['.devcontainer/devcontainer.json', '.devcontainer.json'] as const

const words = z.array(z.string().refine(plain, 'contains a NUL character'))
const line = z.string().refine(plain, 'contains a NUL character')
const Command = z.union([line, words, z.record(z.string(), z.union([line, words]))], {
  error: 'must be a string, an array of strings, or an object of those',
})
const variableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and underscores, and not begin with a digit')
const flags = z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())])

/** The properties that have an effect here, and those of which it is said that they have none. */
export const Devcontainer = z.looseObject({
  image: z.string().optional(),
  build: z
    .looseObject({
      dockerfile: z.string().min(1).optional(),
      context: z.string().optional(),
      args: z.record(z.string(), z.string()).optional(),
      target: z.string().optional(),
      options: flags.optional(),
    })
    .optional(),
  dockerFile: z.string().min(1).optional(),
  context: z.string().optional(),
  containerEnv: z.record(variableName, line).optional(),
  remoteEnv: z.record(variableName, line.nullable()).optional(),
  containerUser: z.string().min(1).optional(),
  remoteUser: z.string().min(1).optional(),
  workspaceFolder: z.string().optional(),
  workspaceMount: z.string().optional(),
  onCreateCommand: Command.optional(),
  updateContentCommand: Command.optional(),
  postCreateCommand: Command.optional(),
  postStartCommand: Command.optional(),
})
export type Devcontainer = z.infer<typeof Devcontainer>
export type DevcontainerCommand = z.infer<typeof Command>

function plain(text: string): boolean {
  return !text.includes('\0')
}

export interface FoundDevcontainer {
  /** The repository's path in the workspace. */
  repository: string
  /** Its path in the repository. */
  path: string
  content: Devcontainer
}

/**
 * The devcontainer.json of a repository, looked for in the three places that it
 * may be in. Where there is more than one in folders of `.devcontainer`, none is
 * meant more than the others, and `onSeveral` is told of them.
 * @throws {RunFailureError} devcontainer_invalid
 */
export async function findDevcontainer(
  workspace: string,
  repository: string,
  onSeveral: (paths: string[]) => void,
): Promise<FoundDevcontainer | null> {
  for (const path of PLACES) {
    const text = await readInside(workspace, repository, path)
    if (text !== null) return { repository, path, content: parseDevcontainer(text, `${repository}/${path}`) }
  }
  const found: { path: string; text: string }[] = []
  for (const folder of await foldersOf(workspace, `${repository}/${NAMED_FOLDERS}`)) {
    const path = `${NAMED_FOLDERS}/${folder}/devcontainer.json`
    const text = await readInside(workspace, repository, path)
    if (text !== null) found.push({ path, text })
  }
  const [only, ...others] = found
  if (others.length > 0) onSeveral(found.map(({ path }) => path))
  if (only === undefined || others.length > 0) return null
  return { repository, path: only.path, content: parseDevcontainer(only.text, `${repository}/${only.path}`) }
}

/** @throws {RunFailureError} devcontainer_invalid, with the file's name and the line. */
export function parseDevcontainer(text: string, name: string): Devcontainer {
  const options = { allowTrailingComma: true }
  const errors: ParseError[] = []
  const value: unknown = parse(text.replace(/^\uFEFF/, ' '), errors, options)
  const [error] = errors
  if (error !== undefined) {
    throw invalid(`${name}, line ${lineAt(text, error.offset)}: ${sentence(printParseErrorCode(error.error))}.`)
  }
  const parsed = Devcontainer.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = (issue?.path ?? []).filter((part) => typeof part !== 'symbol')
  const tree = parseTree(text, [], options)
  const node = tree && findNodeAtLocation(tree, path)
  const what = path.length === 0 ? 'it' : path.join('.')
  throw invalid(
    `${name}, line ${lineAt(text, node?.offset ?? 0)}: ${what} ${issue === undefined ? 'does not fit' : issueWords(issue)}.`,
  )
}

const lineAt = (text: string, offset: number) => text.slice(0, offset).split('\n').length

/** `CloseBraceExpected` as people say it. */
const sentence = (code: string) => code.replace(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase()

export const invalid = (message: string) =>
  new RunFailureError({
    code: 'devcontainer_invalid',
    phase: 'workspace',
    message,
    nextStep: 'Mend the file, or start the run without it: `environment.devcontainer: false`.',
  })

async function foldersOf(workspace: string, path: string): Promise<string[]> {
  await using directory = await openInside(workspace, path, constants.O_DIRECTORY)
  if (directory === null) return []
  const entries = await readdir(within(directory, '.'), { withFileTypes: true })
  return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).toSorted()
}

/** A file of a repository; null where there is none. @throws {RunFailureError} devcontainer_invalid for what is no file, or too large. */
export async function readInside(workspace: string, repository: string, path: string): Promise<string | null> {
  await using file = await openInside(workspace, `${repository}/${path}`, constants.O_NONBLOCK)
  if (file === null) return null
  const found = await file.stat()
  if (!found.isFile()) throw invalid(`${repository}/${path} is not a file.`)
  if (found.size > FILE_BYTES) throw invalid(`${repository}/${path} is larger than ${FILE_BYTES / 1024} KiB.`)
  return await file.readFile('utf8')
}

async function openInside(workspace: string, path: string, flags: number): Promise<FileHandle | null> {
  const names = path.split('/')
  let directory = await openDirectory(workspace)
  try {
    for (const [index, name] of names.entries()) {
      const isLast = index === names.length - 1
      const at = within(directory, name)
      const next = await open(
        at,
        constants.O_RDONLY | constants.O_NOFOLLOW | (isLast ? flags : constants.O_DIRECTORY),
      ).catch(async (error: unknown) => {
        if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) throw error
        const there = await lstat(at).catch(() => null) // Nothing is there, then.
        if (there?.isSymbolicLink())
          throw invalid(`${names.slice(0, index + 1).join('/')} is a link, and not followed.`)
        return null
      })
      if (next === null) return null
      if (isLast) return next
      await directory.close()
      directory = next
    }
    return null
  } finally {
    await directory.close()
  }
}
