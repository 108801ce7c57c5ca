// The baseline of a start: the agent alone, launched as Ambient launches it, and the least client that gives it a prompt.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseMessage, request } from '../agents/acp/messages.ts'
import type { AcpAgent, Launch, LaunchContext } from '../agents/agent.ts'
import { writeHomeFiles } from '../environments/inside-directory.ts'
import { createRunDirectory, type Owner, type RunPaths, removeRunDirectory } from '../environments/run-directory.ts'

export interface BareOptions {
  agent: AcpAgent
  toolkit: string
  /** Of the OpenAI-compatible model, on this machine's 127.0.0.1. */
  modelUrl: string
  /** Where each agent gets directories of its own: one starts slower in a home that it has not seen. */
  directory: string
  /** Of a container: an image that has the workspace in it, and where in that the agent works. */
  filled?: { image: string; folder: string }
}

export interface BareAgent {
  /** By performance.now(): everything was at hand, and nothing was started. */
  began: number
  stdin: NodeJS.WritableStream
  stdout: NodeJS.ReadableStream
  /** Where it works, as it sees it. */
  cwd: string
  /** Ends it and removes its directories. */
  end(): Promise<void>
}

export async function startBareProcess(options: BareOptions): Promise<BareAgent> {
  const own = await ownDirectories(options, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 })
  const { home, workspace, tmp } = own.paths
  const launch = await own.launch({
    ...{ home, workspace, toolkit: options.toolkit, node: process.execPath },
    ...{ gatewayUrl: options.modelUrl, isolated: false, runsAsRoot: own.owner.uid === 0 },
  })
  const [program = '', ...args] = launch.command
  const began = performance.now()
  const child = spawn(program, args, {
    cwd: workspace,
    env: { PATH: process.env.PATH, LANG: 'C.UTF-8', HOME: home, TMPDIR: tmp, ...launch.env },
    stdio: ['pipe', 'pipe', 'ignore'],
    // A group of its own, so that it can be ended with all it has started.
    detached: true,
  })
  const { stdin, stdout } = child
  return { began, stdin, stdout, cwd: workspace, end: () => endGroup(child).then(own.remove) }
}

async function endGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) return
  const ended = once(child, 'exit')
  process.kill(-child.pid, 'SIGKILL')
  await ended
}

type LaunchPlace = Omit<LaunchContext, 'gatewayToken' | 'model' | 'reasoningLevel' | 'policy' | 'rules' | 'mcpServers'>

export interface OwnDirectories {
  id: string
  owner: Owner
  paths: RunPaths
  /** What starts the agent; the files that it asks for are in its home. */
  launch(place: LaunchPlace): Promise<Launch>
  remove(): Promise<void>
}

/** The same that a run has. */
export async function ownDirectories({ agent, directory }: BareOptions, owner: Owner): Promise<OwnDirectories> {
  const id = randomUUID()
  const paths = await createRunDirectory(directory, id, owner)
  return {
    id,
    owner,
    paths,
    async launch(place) {
      const settings = {
        gatewayToken: 'of-no-account',
        model: null,
        reasoningLevel: null,
        policy: 'allow',
        rules: null,
        mcpServers: [],
      } as const
      const launch = agent.launch({ ...settings, ...place })
      await writeHomeFiles(paths, launch.files, owner)
      return launch
    },
    remove: () => removeRunDirectory(directory, id),
  }
}

/** From a started process to a prompt that it was given, one request after another. */
export async function promptAgent({ stdin, stdout, cwd }: BareAgent, text: string): Promise<void> {
  const lines = createInterface(stdout)
  const answers = new Map<unknown, (result: unknown) => void>()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {}) // Heard while an answer is waited for; the agent's end later on is wanted.
  stdin.on('error', failed.reject)
  lines.once('close', () => failed.reject(new Error('the bare agent ended')))
  lines.on('line', (line) => {
    const message = parseMessage(line)
    if (message.kind !== 'response') return
    const { id, answer } = message
    if (answer.ok) answers.get(id)?.(answer.result)
    else failed.reject(new Error(`the bare agent refuses ${id}: ${JSON.stringify(answer.error)}`))
  })
  const ask = (method: string, params: object): Promise<unknown> => {
    const answer = new Promise((resolve) => answers.set(method, resolve))
    stdin.write(request(method, method, params))
    return Promise.race([answer, failed.promise])
  }

  await ask('initialize', {
    protocolVersion: 1,
    clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
    clientInfo: { name: 'bench', version: '1' },
  })
  const { sessionId } = (await ask('session/new', { cwd, mcpServers: [] })) as { sessionId: string }
  stdin.write(request('prompt', 'session/prompt', { sessionId, prompt: [{ type: 'text', text }] }))
}
