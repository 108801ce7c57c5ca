// The work of a run, made with real git as a host would make it, for tests.
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ResultItem } from '../api/client.ts'

const identity = ['-c', 'user.name=Tester', '-c', 'user.email=tester@localhost', '-c', 'commit.gpgSign=false']

export const git = (cwd: string, ...args: string[]): string =>
  execFileSync('git', [...identity, ...args], { cwd, encoding: 'utf8', stdio: 'pipe' }).trim()

export function commit(cwd: string, subject: string): string {
  git(cwd, 'add', '--all')
  git(cwd, 'commit', '--quiet', '--message', subject)
  return git(cwd, 'rev-parse', 'HEAD')
}

export interface Work {
  result: ResultItem
  patch: Buffer
  bundle: Buffer
}

/** Clones a repository into `directory`, and adds a text to one of its files in a commit. */
export function workOn(url: string, directory: string, file: string, text: string): Work {
  const workspace = mkdtempSync(join(directory, 'workspace-'))
  git(directory, 'clone', '--quiet', fileURLToPath(url), workspace)
  const base = git(workspace, 'rev-parse', 'HEAD')
  appendFileSync(join(workspace, file), text)
  const head = commit(workspace, 'The work of the agent')
  git(workspace, 'update-ref', 'refs/ambient/result', 'HEAD')
  const bundle = join(workspace, '.git', 'made.bundle')
  git(workspace, 'bundle', 'create', '--quiet', bundle, `${base}..refs/ambient/result`)
  return {
    result: {
      path: 'home',
      url,
      base_commit: base,
      head_commit: head,
      branch: 'main',
      commits: [{ commit: head, subject: 'The work of the agent', author: 'Tester', time: '2030-01-01T12:00:00Z' }],
      files_changed: 1,
      insertions: 1,
      deletions: 0,
      note: null,
      push: null,
      bundle_bytes: statSync(bundle).size,
    },
    patch: execFileSync('git', ['diff', '--binary', base, head], { cwd: workspace }),
    bundle: readFileSync(bundle),
  }
}
