// Which files of a repository the set-up depends on: when none of them has changed, it need not run again.
import { matchesGlob } from 'node:path'
import type { InlineEnvironment } from '../../domain/run.ts'
import type { ImageBuild } from '../devcontainer/devcontainer.ts'

/** By their names, wherever they are in a repository: what package managers and version managers read. */
const KNOWN = [
  ...['package.json', 'package-lock.json', 'npm-shrinkwrap.json', '.npmrc', 'yarn.lock', '.yarnrc', '.yarnrc.yml'],
  ...['pnpm-lock.yaml', 'pnpm-workspace.yaml', '.pnpmfile.cjs', 'bun.lock', 'bun.lockb', 'bunfig.toml'],
  ...['deno.json', 'deno.jsonc', 'deno.lock', 'lerna.json', '.nvmrc', '.node-version', '.tool-versions', 'mise.toml'],
  ...['requirements*.txt', 'constraints*.txt', 'pyproject.toml', 'poetry.lock', 'uv.lock', 'pdm.lock', 'Pipfile'],
  ...['Pipfile.lock', 'setup.py', 'setup.cfg', 'environment.yml', 'environment.yaml', '.python-version'],
  ...['Gemfile', 'Gemfile.lock', '*.gemspec', '.ruby-version', 'go.mod', 'go.sum', 'go.work', 'go.work.sum'],
  ...['Cargo.toml', 'Cargo.lock', 'rust-toolchain', 'rust-toolchain.toml', 'pom.xml', 'build.gradle'],
  ...['build.gradle.kts', 'settings.gradle', 'settings.gradle.kts', 'gradle.properties', 'gradle.lockfile'],
  ...['libs.versions.toml', 'gradle-wrapper.properties', 'build.sbt', 'composer.json', 'composer.lock'],
  ...['mix.exs', 'mix.lock', '*.csproj', '*.fsproj', 'packages.lock.json', 'Directory.Packages.props'],
  ...['global.json', 'nuget.config', 'Package.swift', 'Package.resolved', 'pubspec.yaml', 'pubspec.lock'],
  ...['.gitmodules', '.gitattributes'],
]

/** What a container is made from, and what runs in it first: no set-up over another one's result can follow a change of these. */
const CONTAINER = ['.devcontainer/**', '.devcontainer.json']

/** Whether a changed file (below its repository, which is at `repository` in the workspace) is an input of the set-up. */
export function isSetupInput(
  { setup_inputs: asked, setup_commands: commands }: Pick<InlineEnvironment, 'setup_inputs' | 'setup_commands'>,
  repository: string,
  file: string,
): boolean {
  if (asked !== undefined) {
    return asked.some((pattern) => matchesGlob(file, pattern) || matchesGlob(`${repository}/${file}`, pattern))
  }
  const name = file.slice(file.lastIndexOf('/') + 1)
  if (KNOWN.some((pattern) => matchesGlob(name, pattern))) return true
  // A script that a command runs, a list that it reads.
  return commands.some((command) => command.includes(file))
}

/**
 * Whether a changed file says which container to work in, or is what that is
 * built from. Of a whole repository as the context of its build, what the set-up
 * depends on counts, and not each file.
 */
export function isContainerInput(
  environment: Pick<InlineEnvironment, 'setup_inputs' | 'setup_commands' | 'devcontainer'>,
  build: ImageBuild | null,
  repository: string,
  file: string,
): boolean {
  if (environment.devcontainer === false) return false
  if (CONTAINER.some((pattern) => matchesGlob(file, pattern))) return true
  if (build === null) return false
  const path = `${repository}/${file}`
  if (path === build.dockerfile) return true
  if (build.context === repository) return isSetupInput(environment, repository, file)
  return path.startsWith(`${build.context}/`)
}
