// What a host has to get at repositories, in a directory of a test.
import { join } from 'node:path'
import { createGitAccess, type GitAccess, type GitAccessSettings } from '../../environments/git/access.ts'

export const testGitAccess = (directory: string, settings: Partial<GitAccessSettings> = {}): Promise<GitAccess> =>
  createGitAccess({
    directory: join(directory, 'git'),
    mirrors: join(directory, 'mirrors'),
    credentials: null,
    sshKey: null,
    knownHosts: null,
    cloneMinutes: 30,
    ...settings,
  })
