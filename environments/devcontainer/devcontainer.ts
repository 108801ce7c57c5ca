// What a run works in: its request, and the devcontainer.json of its repositories where there is one.
import { posix } from 'node:path'
import { z } from 'zod'
import type { InlineEnvironment } from '../../domain/run.ts'
import { planRepositories } from '../git/repositories.ts'
import {
  type Devcontainer,
  type DevcontainerCommand,
  type FoundDevcontainer,
  findDevcontainer,
  invalid,
} from './file.ts'
import { substituteAll } from './variables.ts'

/** An image to be made of a repository's Dockerfile. Paths are below the workspace. */
export const ImageBuild = z.object({
  dockerfile: z.string(),
  context: z.string(),
  args: z.record(z.string(), z.string()),
  target: z.string().nullable(),
})
export type ImageBuild = z.infer<typeof ImageBuild>

/** Commands that run beside one another. The next step begins when all of them have ended. */
export const SetupStep = z.object({
  /** The property of devcontainer.json that it comes from; null for a command of the request. */
  name: z.string().nullable(),
  /** Below the workspace; null: where the agent works. */
  folder: z.string().nullable(),
  commands: z.array(z.object({ name: z.string().nullable(), command: z.array(z.string()) })).min(1),
})
export type SetupStep = z.infer<typeof SetupStep>

/** What the devcontainer.json of a run says, as far as it is honoured. It is read once, before anything of it has run. */
export const DevcontainerChoice = z.object({
  /** The file, below the workspace; null where there is none. */
  file: z.string().nullable(),
  repository: z.string().nullable(),
  image: z.string().nullable(),
  build: ImageBuild.nullable(),
  setupSteps: z.array(SetupStep),
  startSteps: z.array(SetupStep),
  env: z.record(z.string(), z.string()),
  /** A null takes the variable away. May name variables of the image, see {@link withImageVariables}. */
  remoteEnv: z.record(z.string(), z.string().nullable()),
  user: z.string().nullable(),
})
export type DevcontainerChoice = z.infer<typeof DevcontainerChoice>

export const noDevcontainer: DevcontainerChoice = {
  file: null,
  repository: null,
  image: null,
  build: null,
  setupSteps: [],
  startSteps: [],
  env: {},
  remoteEnv: {},
  user: null,
}

/** Something of the file that has no effect, and what that means. */
export interface DevcontainerNote {
  property: string | null
  message: string
}

/**
 * Reads the devcontainer.json of the environment's repositories: of the first
 * one that has it. For a workspace in which nothing has run yet.
 * @throws {RunFailureError} devcontainer_invalid
 */
export async function readDevcontainer(
  environment: InlineEnvironment,
  workspace: { directory: string; inside: string },
): Promise<DevcontainerChoice & { notes: DevcontainerNote[] }> {
  const notes: DevcontainerNote[] = []
  if (environment.devcontainer === false) return { ...noDevcontainer, notes }
  let found: FoundDevcontainer | null = null
  const repositories = planRepositories(environment.repos)
  for (const { path } of repositories) {
    found = await findDevcontainer(workspace.directory, path, (paths) => {
      notes.push({
        property: null,
        message: `${path} has several: ${paths.join(', ')}. None has an effect: keep one, or put one at .devcontainer/devcontainer.json.`,
      })
    })
    if (found !== null) break
  }
  if (found === null) return { ...noDevcontainer, notes }
  if (repositories.length > 1) {
    notes.push({
      property: null,
      message: `Of several repositories, the devcontainer.json of ${found.repository} counts: it is the first that has one.`,
    })
  }
  return { ...choiceOf(found, environment, workspace.inside, notes), notes }
}

function choiceOf(
  { repository, path, content: written }: FoundDevcontainer,
  environment: InlineEnvironment,
  workspace: string,
  notes: DevcontainerNote[],
): DevcontainerChoice {
  const home = `${workspace}/${repository}`
  const content = substituteAll(written, ([name = '', ...rest]) => {
    switch (name) {
      case 'localWorkspaceFolder':
      case 'containerWorkspaceFolder':
        return home
      case 'localWorkspaceFolderBasename':
      case 'containerWorkspaceFolderBasename':
        return posix.basename(home)
      case 'localEnv':
      case 'env':
        // Nobody's machine stands behind a run: what may be said instead of a variable counts.
        return rest.slice(1).join(':')
      default:
        return null
    }
  })
  const file = `${repository}/${path}`
  const source = sourceOf(content, repository, path)
  const hasImage = environment.image !== undefined
  if (hasImage && (source.image !== null || source.build !== null || userOf(content) !== null)) {
    notes.push({
      property: 'image',
      message: `The run names its own image, so image, build and user of ${file} do not count.`,
    })
  }
  notes.push(...notesOf(content))
  const folder = folderOf(content, repository, home, notes)
  const step = (name: LifecycleName): SetupStep[] => {
    const commands = commandsOf(content[name])
    return commands.length === 0 ? [] : [{ name, folder, commands }]
  }
  return {
    file,
    repository,
    image: hasImage ? null : source.image,
    build: hasImage ? null : source.build,
    setupSteps: [...step('onCreateCommand'), ...step('updateContentCommand'), ...step('postCreateCommand')],
    startSteps: step('postStartCommand'),
    env: withoutReserved(content.containerEnv ?? {}, 'containerEnv', notes),
    remoteEnv: withoutReserved(content.remoteEnv ?? {}, 'remoteEnv', notes),
    user: hasImage ? null : userOf(content),
  }
}

type LifecycleName = 'onCreateCommand' | 'updateContentCommand' | 'postCreateCommand' | 'postStartCommand'

const userOf = ({ remoteUser, containerUser }: Devcontainer) => remoteUser ?? containerUser ?? null

function sourceOf(
  content: Devcontainer,
  repository: string,
  path: string,
): Pick<DevcontainerChoice, 'image' | 'build'> {
  const dockerfile = content.build?.dockerfile ?? content.dockerFile
  if (dockerfile === undefined) {
    const { image = null } = content
    // Only now: it may have named variables.
    if (image !== null && !/^[\w./:@-]+$/.test(image)) {
      throw invalid(`${repository}/${path}: ${JSON.stringify(image)} is not the name of a container image.`)
    }
    return { image, build: null }
  }
  const folder = posix.dirname(path)
  const below = (what: string, name: string) => {
    const full = posix.normalize(posix.join(folder, name)).replace(/\/+$/, '')
    if (full === '..' || full.startsWith('../') || posix.isAbsolute(name)) {
      throw invalid(`${repository}/${path}: ${what} ${JSON.stringify(name)} is outside the repository.`)
    }
    return full === '.' ? repository : `${repository}/${full}`
  }
  return {
    image: null,
    build: {
      dockerfile: below('the Dockerfile', dockerfile),
      context: below('the context', content.build?.context ?? content.context ?? '.'),
      args: content.build?.args ?? {},
      target: content.build?.target ?? null,
    },
  }
}

/** Where its commands run, below the workspace: where its workspaceFolder is in the repository. */
function folderOf(content: Devcontainer, repository: string, home: string, notes: DevcontainerNote[]): string {
  const { workspaceFolder: folder, workspaceMount: mount } = content
  if (folder === undefined) return repository
  const target = mount && /(?:^|,)(?:target|dst|destination)=([^,]+)/.exec(mount)?.[1]
  const places = [home, ...(target ? [target] : []), ...[posix.join('/workspaces', posix.basename(home))]]
  for (const place of places) {
    const rest = posix.relative(posix.normalize(place), posix.normalize(folder))
    if (rest !== '..' && !rest.startsWith('../')) return posix.join(repository, rest)
  }
  notes.push({
    property: 'workspaceFolder',
    message: `The repository is at ${home}, and not at ${folder}. Commands run there.`,
  })
  return repository
}

function commandsOf(command: DevcontainerCommand | undefined): SetupStep['commands'] {
  if (command === undefined) return []
  const argv = (one: string | string[]) => (typeof one === 'string' ? ['/bin/sh', '-c', one] : one)
  const isEmpty = (one: string | string[]) => one.length === 0
  if (typeof command === 'string' || Array.isArray(command)) {
    return isEmpty(command) ? [] : [{ name: null, command: argv(command) }]
  }
  return Object.entries(command).flatMap(([name, one]) => (isEmpty(one) ? [] : [{ name, command: argv(one) }]))
}

/** What a sandbox is told by this host, and programs in it rely on. */
const RESERVED = /^(HOME|AMBIENT_.*)$/

function withoutReserved<T>(env: Record<string, T>, property: string, notes: DevcontainerNote[]): Record<string, T> {
  const reserved = Object.keys(env).filter((name) => RESERVED.test(name))
  if (reserved.length > 0) {
    notes.push({ property, message: `${property} does not change ${reserved.join(', ')}: the host needs it as it is.` })
  }
  return Object.fromEntries(Object.entries(env).filter(([name]) => !RESERVED.test(name)))
}

/** Of no effect, each with what that means. What only concerns editors and forwarded ports is not worth a word. */
const WITHOUT_EFFECT: Record<string, string> = {
  features: 'They are not installed: what they bring has to be in the image, or come with a command.',
  dockerComposeFile: 'No services are started beside the sandbox, and its image is the host’s default.',
  mounts: 'Nothing is mounted beside the workspace.',
  runArgs: 'The container is started with the host’s own options.',
  privileged: 'The sandbox has no privileges.',
  capAdd: 'The sandbox has no capabilities.',
  securityOpt: 'The container has the host’s own security options.',
  initializeCommand: 'It is not run: nothing of a repository runs outside its sandbox.',
  postAttachCommand: 'It is not run: nobody attaches to the sandbox.',
}

function notesOf(content: Devcontainer): DevcontainerNote[] {
  const notes = Object.entries(WITHOUT_EFFECT)
    .filter(([property]) => saysSomething(content[property]))
    .map(([property, meaning]) => ({ property, message: `${property} is not honoured. ${meaning}` }))
  if (!saysSomething(content.build?.options)) return notes
  const property = 'build.options'
  return [
    ...notes,
    { property, message: `${property} is not honoured. The image is built with the host’s own options.` },
  ]
}

function saysSomething(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === '') return false
  return typeof value !== 'object' || Object.keys(value).length > 0
}

/** What a run works in, all told. */
export interface EffectiveEnvironment {
  /** Null with no build: the host's default. */
  image: string | null
  build: ImageBuild | null
  setupSteps: SetupStep[]
  /** In each sandbox of the run. */
  startSteps: SetupStep[]
  /** Of every program in the sandbox. May hold secrets. */
  env: Record<string, string>
  user: string | null
}

/** The request goes before the file: its image, and its variables. Its set-up commands come after those of the file. */
export function effectiveEnvironment(environment: InlineEnvironment, choice: DevcontainerChoice): EffectiveEnvironment {
  const { image, build, setupSteps, startSteps, env, remoteEnv, user } = choice
  const asked = environment.setup_commands.map((command) => ({
    name: null,
    folder: null,
    commands: [{ name: null, command: ['/bin/sh', '-c', command] }],
  }))
  const variables = Object.entries({ ...env, ...remoteEnv, ...environment.env })
  return {
    image: environment.image ?? image,
    build,
    setupSteps: [...setupSteps, ...asked],
    startSteps,
    env: Object.fromEntries(variables.filter((variable): variable is [string, string] => variable[1] !== null)),
    user,
  }
}

/** Whether it names variables of the image, which are known only with that. */
export function namesImageVariables(choice: DevcontainerChoice): boolean {
  return JSON.stringify([choice.setupSteps, choice.startSteps, choice.remoteEnv]).includes('${containerEnv:')
}

/** With `${containerEnv:NAME}` as the variables of the image have it, and its own above them. */
export function withImageVariables(choice: DevcontainerChoice, imageEnv: Record<string, string>): DevcontainerChoice {
  const known = new Map(Object.entries({ ...imageEnv, ...choice.env }))
  const { setupSteps, startSteps, remoteEnv } = choice
  return {
    ...choice,
    ...substituteAll({ setupSteps, startSteps, remoteEnv }, ([name, variable = '', ...rest]) =>
      name === 'containerEnv' ? (known.get(variable) ?? rest.join(':')) : null,
    ),
  }
}
