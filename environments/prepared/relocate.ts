// Where a sandbox sees its files under the run's own id, what a set-up leaves may name its place: the programs of a
// Python environment do. A copy for another run is told that run's id, which is as long, so that nothing else moves.
import { execFile } from 'node:child_process'
import { lstat, open, readlink, symlink, unlink, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import type { RunPaths } from '../run-directory.ts'

const run = promisify(execFile)

/** Below the run's directory. */
export const Mentions = z.object({ files: z.array(z.string()), links: z.array(z.string()) })
export type Mentions = z.infer<typeof Mentions>

const OUTPUT_BYTES = 64 * 1024 * 1024

/** Everything in workspace and home that names the run. Nothing works there any more; no link is followed. */
export async function findMentions({ root }: Pick<RunPaths, 'root'>, runId: string): Promise<Mentions> {
  const search = async (program: string, ...args: string[]) => {
    const options = { cwd: root, maxBuffer: OUTPUT_BYTES, env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }
    const found = await run('nice', ['-n', '19', program, ...args], options).catch((error: unknown) => {
      // Without a match, or with a file that cannot be read, grep ends with 1 or 2.
      if (error instanceof Error && 'stdout' in error && 'code' in error && (error.code === 1 || error.code === 2))
        return { stdout: String(error.stdout) }
      throw error
    })
    return found.stdout.split('\0').filter((path) => path !== '')
  }
  return {
    files: await search('grep', '-rlZF', '--devices=skip', '--', runId, 'workspace', 'home'),
    links: await search('find', 'workspace', 'home', '-type', 'l', '-lname', `*${runId}*`, '-print0'),
  }
}

/** For a run in which nothing works yet. */
export async function relocate(
  { root }: Pick<RunPaths, 'root'>,
  { files, links }: Mentions,
  from: string,
  to: string,
): Promise<void> {
  for (const file of files) await replaceInFile(join(root, file), Buffer.from(from), Buffer.from(to))
  for (const link of links) {
    const path = join(root, link)
    const target = await readlink(path)
    await unlink(path)
    await symlink(target.replaceAll(from, to), path)
  }
}

async function replaceInFile(path: string, from: Buffer, to: Buffer): Promise<void> {
  const { atime, mtime } = await lstat(path)
  await using file = await open(path, 'r+')
  const content = await file.readFile()
  for (let at = content.indexOf(from); at >= 0; at = content.indexOf(from, at + to.length)) {
    await file.write(to, 0, to.length, at)
  }
  // What goes by the times of files is to find them as they were.
  await utimes(path, atime, mtime)
}
