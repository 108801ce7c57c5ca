// How much of the disk a directory takes.
import { execFile } from 'node:child_process'
import { isErrno } from './run-directory.ts'

/**
 * In bytes as they are allocated: a file with holes counts for what it takes.
 * At the lowest priority, for it looks at every file. 0 for one that is not
 * there; what cannot be read, or vanishes meanwhile, is left out.
 */
export async function directorySize(path: string): Promise<number> {
  const said = await new Promise<string>((resolve, reject) => {
    const args = ['-n', '19', 'du', '--summarize', '--one-file-system', '--block-size=1', '--', path]
    execFile('nice', args, { env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }, (error, stdout) => {
      // It ends with 1 when there was something that it could not read, and has the total all the same.
      if (error !== null && isErrno(error, 'ENOENT', 'EACCES')) reject(error)
      else resolve(stdout)
    })
  })
  return Number(/^\d+/.exec(said)?.[0] ?? 0)
}
