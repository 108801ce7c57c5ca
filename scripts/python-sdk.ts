// A Python with the official SDK in it, for the tests: made once, and again when what it is to hold changes.
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { execa } from 'execa'

interface Options {
  /** Where it is kept. */
  directory: string
  /** What it holds, each with its hash. */
  requirements: string
  say: (line: string) => void
}

/** Whether there is one; where not, it has been said why. */
export async function preparePythonSdk({ directory, requirements, say }: Options): Promise<boolean> {
  const mark = join(directory, 'requirements.sha256')
  const wanted = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
  const found = await readFile(mark, 'utf8').catch(() => null) // Not made yet.
  if (found === wanted) return true
  say('installing the official Python SDK for the tests (once)')
  try {
    await rm(directory, { recursive: true, force: true })
    await mkdir(dirname(directory), { recursive: true })
    await execa('python3', ['-m', 'venv', directory])
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes']
    await execa(join(directory, 'bin', 'python'), [...pip, '--only-binary', ':all:', '-r', requirements])
    await writeFile(`${mark}.new`, wanted)
    await rename(`${mark}.new`, mark)
    return true
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    const reason = error instanceof Error ? error.message : String(error)
    say(`NO PYTHON SDK on this machine, so its tests are skipped. On Debian: apt-get install python3-venv. ${reason}`)
    return false
  }
}
