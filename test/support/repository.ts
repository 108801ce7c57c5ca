// A small git repository for tests to work on.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'

export interface SampleRepository {
  path: string
  url: string
  git(...args: string[]): Promise<string>
  remove(): Promise<void>
}

/** With a README on `main`, and a branch `other`. */
export async function sampleRepository(): Promise<SampleRepository> {
  const path = await mkdtemp(join(tmpdir(), 'ambient-repository-'))
  const git = async (...args: string[]) => (await execa('git', ['-C', path, ...args])).stdout
  await git('init', '--quiet', '--initial-branch=main')
  await git('config', 'user.name', 'Sample')
  await git('config', 'user.email', 'sample@example.com')
  await writeFile(join(path, 'README.md'), '# A sample\n')
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'First')
  await git('switch', '--quiet', '--create', 'other')
  await git('commit', '--quiet', '--allow-empty', '--message', 'On the other branch')
  await git('switch', '--quiet', 'main')
  return { path, url: `file://${path}`, git, remove: () => rm(path, { recursive: true, force: true }) }
}
