import { expect, test } from 'vitest'
import { isContainerInput, isSetupInput } from './setup-inputs.ts'

const none = { setup_commands: [] }

test('lock files and manifests are inputs of the set-up, wherever they are', () => {
  for (const file of ['package-lock.json', 'apps/web/package.json', 'requirements-dev.txt', 'a/b.csproj', 'go.sum']) {
    expect([file, isSetupInput(none, 'project', file)]).toEqual([file, true])
  }
  for (const file of ['README.md', 'src/package.ts', 'docs/requirements.md']) {
    expect([file, isSetupInput(none, 'project', file)]).toEqual([file, false])
  }
})

test('a file that a set-up command names is one as well', () => {
  const environment = { setup_commands: ['sh scripts/install.sh'] }
  expect(isSetupInput(environment, 'project', 'scripts/install.sh')).toBe(true)
  expect(isSetupInput(environment, 'project', 'scripts/other.sh')).toBe(false)
})

test('setup_inputs takes their place: paths within a repository or the workspace', () => {
  const environment = { setup_commands: [], setup_inputs: ['deps/*.txt', 'project/list'] }
  expect(isSetupInput(environment, 'project', 'deps/a.txt')).toBe(true)
  expect(isSetupInput(environment, 'project', 'list')).toBe(true)
  expect(isSetupInput(environment, 'other', 'list')).toBe(false)
  expect(isSetupInput(environment, 'project', 'package.json')).toBe(false)
})

test('what a container is made from is no input that a set-up could follow', () => {
  const build = { dockerfile: 'project/docker/Dockerfile', context: 'project/docker', args: {}, target: null }
  const isInput = (file: string) => isContainerInput(none, build, 'project', file)
  expect(['docker/Dockerfile', 'docker/list', '.devcontainer/devcontainer.json'].map(isInput)).toEqual([
    true,
    true,
    true,
  ])
  expect(isInput('README.md')).toBe(false)
  expect(isContainerInput({ ...none, devcontainer: false }, null, 'project', '.devcontainer/devcontainer.json')).toBe(
    false,
  )
})
