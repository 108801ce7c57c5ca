// The person's own git, on the person's own repositories.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { usageError } from './exit.ts'

const execute = promisify(execFile)

export interface GitOptions {
  cwd: string
}

/** Trimmed output of a git command. Throws with git's own message. */
export async function git(args: readonly string[], { cwd }: GitOptions): Promise<string> {
  try {
    const { stdout } = await execute('git', [...args], { cwd, maxBuffer: 64 * 1024 * 1024 })
    return stdout.trimEnd()
  } catch (error) {
    const failure = error as NodeJS.ErrnoException & { stderr?: string }
    if (failure.code === 'ENOENT')
      throw usageError('git is not there, or the directory is not.', `Looked for git in PATH, and for ${cwd}.`)
    throw usageError(`git ${args.find((arg) => /^[a-z]/.test(arg))}: ${(failure.stderr || failure.message).trim()}`)
  }
}

/** {@link git}, or null where git says no. */
export const gitOrNull = (args: readonly string[], options: GitOptions): Promise<string | null> =>
  git(args, options).catch(() => null)
