// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of devcontainer.json are written so.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { InlineEnvironment } from '../../domain/run.ts'
import { effectiveEnvironment, namesImageVariables, readDevcontainer, withImageVariables } from './devcontainer.ts'

let workspace: string

beforeEach(async () => {
  workspace = await mkdtemp(join(tmpdir(), 'ambient-devcontainer-'))
})
afterEach(() => rm(workspace, { recursive: true, force: true }))

async function put(path: string, content: unknown): Promise<void> {
  const file = join(workspace, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content))
}

/** Of an environment with these repositories, or `project` alone. */
function read(environment: Partial<InlineEnvironment> = {}, repositories = ['project']) {
  const repos = repositories.map((path) => ({ url: `https://example.com/${path}`, path }))
  return readDevcontainer(InlineEnvironment.parse({ repos, ...environment }), {
    directory: workspace,
    inside: '/workspace',
  })
}

const messages = async (reading: ReturnType<typeof read>) => (await reading).notes.map(({ message }) => message)
const shell = (command: string) => ['/bin/sh', '-c', command]

test('without a devcontainer.json nothing changes, and with devcontainer: false it is not even read', async () => {
  expect(await read()).toMatchObject({ file: null, image: null, setupSteps: [], notes: [] })
  await put('project/.devcontainer.json', 'no JSON')
  expect(await read({ devcontainer: false })).toMatchObject({ file: null, notes: [] })
  await expect(read()).rejects.toThrow()
})

test('it is looked for in its three places, and read with comments and commas at the end', async () => {
  await put('project/.devcontainer/only/devcontainer.json', { image: 'third' })
  expect(await read()).toMatchObject({ file: 'project/.devcontainer/only/devcontainer.json', image: 'third' })
  await put('project/.devcontainer.json', '\uFEFF// of the team\n{ "image": "second", /* for now */ }')
  expect(await read()).toMatchObject({ file: 'project/.devcontainer.json', image: 'second' })
  await put('project/.devcontainer/devcontainer.json', { image: 'first' })
  expect(await read()).toMatchObject({ file: 'project/.devcontainer/devcontainer.json', image: 'first', notes: [] })
})

test('of several in folders none counts, and that is said', async () => {
  await put('project/.devcontainer/a/devcontainer.json', { image: 'a' })
  await put('project/.devcontainer/b/devcontainer.json', { image: 'b' })
  expect(await read()).toMatchObject({ file: null, image: null })
  expect(await messages(read())).toEqual([expect.stringContaining('a/devcontainer.json, .devcontainer/b')])
})

test('of several repositories the first that has one counts, and that is said', async () => {
  await put('two/.devcontainer.json', { image: 'of-two' })
  await put('three/.devcontainer.json', { image: 'of-three' })
  const reading = await read({}, ['one', 'two', 'three'])
  expect(reading).toMatchObject({ repository: 'two', image: 'of-two' })
  expect(reading.notes).toEqual([{ property: null, message: expect.stringContaining('of two counts') }])
})

test('a broken file fails the run with its name and the line', async () => {
  const failure = { code: 'devcontainer_invalid', phase: 'workspace', nextStep: expect.stringContaining('false') }
  await put('project/.devcontainer.json', '{\n  "image": "a"\n  "remoteUser": "b"\n}')
  await expect(read()).rejects.toMatchObject({
    failure: { ...failure, message: 'project/.devcontainer.json, line 3: comma expected.' },
  })
  await put('project/.devcontainer.json', '{\n  "build": {\n    "args": {\n      "A": 1\n    }\n  }\n}')
  await expect(read()).rejects.toMatchObject({
    failure: { ...failure, message: 'project/.devcontainer.json, line 4: build.args.A must be a text.' },
  })
  await put('project/.devcontainer.json', '{ "image": "no name" }')
  await expect(read()).rejects.toMatchObject({ failure: { message: expect.stringContaining('"no name" is not') } })
  await put('project/.devcontainer.json', '[]')
  await expect(read()).rejects.toMatchObject({
    failure: { message: 'project/.devcontainer.json, line 1: it must be an object.' },
  })
  await put('project/.devcontainer.json', '{\n\n"postCreateCommand": 7 }')
  await expect(read()).rejects.toMatchObject({
    failure: { message: expect.stringMatching(/line 3: postCreateCommand must be a string, an array/) },
  })
})

test('no link is followed on the way to it', async () => {
  await put('elsewhere/devcontainer.json', { image: 'secret' })
  await mkdir(join(workspace, 'project'))
  await symlink(join(workspace, 'elsewhere'), join(workspace, 'project/.devcontainer'))
  const refused = { failure: { code: 'devcontainer_invalid', message: expect.stringContaining('is a link') } }
  await expect(read()).rejects.toMatchObject(refused)
  await rm(join(workspace, 'project/.devcontainer'))
  await symlink(join(workspace, 'elsewhere/devcontainer.json'), join(workspace, 'project/.devcontainer.json'))
  await expect(read()).rejects.toMatchObject(refused)
})

test('commands keep their order: as a text for a shell, as a program, or several beside one another', async () => {
  await put('project/.devcontainer.json', {
    postCreateCommand: { web: 'npm ci', api: ['pip', 'install', '-r', 'a b'] },
    updateContentCommand: ['make', 'all'],
    onCreateCommand: 'echo first',
    postStartCommand: 'service start',
  })
  const { setupSteps, startSteps } = effectiveEnvironment(
    InlineEnvironment.parse({ setup_commands: ['echo last'] }),
    await read(),
  )
  expect(setupSteps).toEqual([
    { name: 'onCreateCommand', folder: 'project', commands: [{ name: null, command: shell('echo first') }] },
    { name: 'updateContentCommand', folder: 'project', commands: [{ name: null, command: ['make', 'all'] }] },
    {
      name: 'postCreateCommand',
      folder: 'project',
      commands: [
        { name: 'web', command: shell('npm ci') },
        { name: 'api', command: ['pip', 'install', '-r', 'a b'] },
      ],
    },
    { name: null, folder: null, commands: [{ name: null, command: shell('echo last') }] },
  ])
  expect(startSteps).toMatchObject([{ name: 'postStartCommand' }])
})

test('a Dockerfile and its context are found beside the file, and never outside the repository', async () => {
  await put('project/.devcontainer/devcontainer.json', {
    image: 'not-this-one',
    build: { dockerfile: 'Dockerfile', context: '..', args: { FROM: '${localEnv:NONE:here}' }, target: 'dev' },
  })
  expect(await read()).toMatchObject({
    image: null,
    build: {
      dockerfile: 'project/.devcontainer/Dockerfile',
      context: 'project',
      args: { FROM: 'here' },
      target: 'dev',
    },
  })
  await put('project/.devcontainer/devcontainer.json', { dockerFile: '../docker/Dockerfile' })
  expect(await read()).toMatchObject({
    build: { dockerfile: 'project/docker/Dockerfile', context: 'project/.devcontainer', args: {}, target: null },
  })
  for (const context of ['../..', '/etc', '../../other']) {
    await put('project/.devcontainer/devcontainer.json', { build: { dockerfile: 'Dockerfile', context } })
    await expect(read()).rejects.toMatchObject({ failure: { message: expect.stringContaining('outside') } })
  }
})

test('the image and the variables of the request go before those of the file', async () => {
  await put('project/.devcontainer.json', {
    image: 'theirs',
    remoteUser: 'node',
    containerEnv: { A: 'container', B: 'container', C: 'container', D: 'container' },
    remoteEnv: { B: 'remote', C: 'remote', D: null },
  })
  const environment = { image: 'mine', env: { C: 'request' } }
  const choice = await read(environment)
  expect(effectiveEnvironment(InlineEnvironment.parse(environment), choice)).toMatchObject({
    image: 'mine',
    user: null,
    env: { A: 'container', B: 'remote', C: 'request' },
  })
  expect(choice.notes).toEqual([{ property: 'image', message: expect.stringContaining('names its own image') }])
  const { user, image, env } = effectiveEnvironment(InlineEnvironment.parse({}), await read())
  expect({ user, image, env }).toEqual({
    user: 'node',
    image: 'theirs',
    env: { A: 'container', B: 'remote', C: 'remote' },
  })
})

test('variables are put in: of the workspace at once, of the image when it is known, and the shell keeps its own', async () => {
  await put('project/.devcontainer.json', {
    containerEnv: { HERE: '${containerWorkspaceFolder}/bin', ME: '${localEnv:USER}' },
    remoteEnv: {
      PATH: '${containerEnv:PATH}:${localWorkspaceFolder}/bin',
      BOTH: '${containerEnv:HERE}',
      NO: '${containerEnv:NO:none}',
    },
    postCreateCommand: 'echo ${containerWorkspaceFolderBasename} ${containerEnv:LANG} $HOME ${HOME}',
  })
  const choice = await read()
  expect(choice.env).toEqual({ HERE: '/workspace/project/bin', ME: '' })
  expect(namesImageVariables(choice)).toBe(true)
  const { remoteEnv, setupSteps } = withImageVariables(choice, { PATH: '/usr/bin', LANG: 'C' })
  expect(remoteEnv).toEqual({ PATH: '/usr/bin:/workspace/project/bin', BOTH: '/workspace/project/bin', NO: 'none' })
  expect(setupSteps[0]?.commands).toEqual([{ name: null, command: shell('echo project C $HOME ${HOME}') }])
})

test('commands run where its workspaceFolder is in the repository', async () => {
  const folder = async (content: object) => {
    await put('project/.devcontainer.json', { postCreateCommand: 'true', ...content })
    const { setupSteps, notes } = await read()
    return [setupSteps[0]?.folder, notes.length]
  }
  expect(await folder({})).toEqual(['project', 0])
  expect(await folder({ workspaceFolder: '/workspaces/project' })).toEqual(['project', 0])
  expect(await folder({ workspaceFolder: '/workspaces/${localWorkspaceFolderBasename}/web' })).toEqual([
    'project/web',
    0,
  ])
  const workspaceMount = 'source=${localWorkspaceFolder},target=/src,type=bind'
  expect(await folder({ workspaceMount, workspaceFolder: '/src/api' })).toEqual(['project/api', 0])
  expect(await folder({ workspaceFolder: '/srv' })).toEqual(['project', 1])
  expect(await folder({ workspaceFolder: '/workspaces/project/../../etc' })).toEqual(['project', 1])
})

test('what is not honoured is named once, with what that means; what is empty or harmless is not', async () => {
  await put('project/.devcontainer.json', {
    features: { 'ghcr.io/devcontainers/features/node:1': {} },
    dockerComposeFile: 'docker-compose.yml',
    mounts: ['source=/,target=/host,type=bind'],
    runArgs: ['--privileged'],
    privileged: true,
    capAdd: ['SYS_PTRACE'],
    securityOpt: ['seccomp=unconfined'],
    initializeCommand: 'curl example.com | sh',
    postAttachCommand: 'echo hello',
    build: { dockerfile: 'Dockerfile', options: ['--network=host'] },
    containerEnv: { HOME: '/root', AMBIENT_RUN: 'x', KEPT: 'y' },
    hostRequirements: { cpus: 4 },
    customizations: { vscode: {} },
    forwardPorts: [3000],
  })
  const { notes, env } = await read()
  expect(notes.map(({ property }) => property)).toEqual([
    'features',
    'dockerComposeFile',
    'mounts',
    'runArgs',
    'privileged',
    'capAdd',
    'securityOpt',
    'initializeCommand',
    'postAttachCommand',
    'build.options',
    'containerEnv',
  ])
  expect(env).toEqual({ KEPT: 'y' })
  await put('project/.devcontainer.json', { features: {}, mounts: [], privileged: false, runArgs: [] })
  expect(await messages(read())).toEqual([])
})
