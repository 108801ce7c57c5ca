// Runs on the worker that holds the sandbox. From nothing to an open agent session, each step once.
import { openSession } from '../../agents/acp/session.ts'
import type { AcpAgent, Agent } from '../../agents/agent.ts'
import { agents } from '../../agents/index.ts'
import { installAgent } from '../../agents/install.ts'
import type { PermissionPolicy } from '../../domain/harness.ts'
import type { ExecutionOrder } from '../../domain/host-api.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeHomeFiles } from '../../environments/inside-directory.ts'
import { commitIdentity, repositoryPath } from '../../environments/repositories.ts'
import { claims } from '../../environments/run-directory.ts'
import type { ExecutionRef, SandboxOrigin } from '../../workflows/contract.ts'
import type { StopSignals } from './attended.ts'
import { noteStart } from './collect.ts'
import { type HostDeps, openRunState, type RunStateFile } from './deps.ts'
import { runSetup } from './setup.ts'
import { createTranscript, type Transcript } from './transcript.ts'
import { prepareWorkspace } from './workspace.ts'

/** Everything about an execution that its host activities share. */
export interface Execution {
  deps: HostDeps
  ref: ExecutionRef
  order: ExecutionOrder
  agent: Agent
  policy: PermissionPolicy
  state: RunStateFile
  transcript: Transcript
  signals: StopSignals
  /** Aborts for either reason. */
  stop: AbortSignal
}

export async function openExecution(deps: HostDeps, ref: ExecutionRef, signals: StopSignals): Promise<Execution> {
  const stop = AbortSignal.any([signals.interrupt, signals.detach])
  const order = await deps.server.order(ref.runId, ref.execution, stop)
  return {
    deps,
    ref,
    order,
    agent: agents[order.agent],
    // A container is a boundary of its own; on the bare machine a person decides.
    policy: order.policy ?? (deps.host.kind === 'docker' ? 'allow' : 'ask'),
    state: await openRunState(deps.runsDirectory, ref.runId),
    // An interrupted turn still stores how it ended, so only leaving stops the transcript.
    transcript: createTranscript(deps.server, ref, signals.detach),
    signals,
    stop,
  }
}

/** A sandbox with a live agent in it and everything around it, whatever was there before. Idempotent. */
export async function prepare(execution: Execution): Promise<SandboxOrigin> {
  const { deps, ref, agent, state } = execution
  const held = await currentSandbox(execution)
  if (held && (await held.isRunning()) && (await hasAgent(execution, held))) return 'kept'

  const hadSession = state.get().sessionId !== null
  await prepareWorkspace(execution)
  const sandbox = await usableSandbox(execution)
  await runSetup(execution, sandbox)
  // Opening a session changes nothing in the workspace, so both can go on at once.
  await Promise.all([
    noteStart(execution, sandbox),
    agent.protocol === 'acp' ? startAgent(execution, agent, sandbox) : null,
  ])
  deps.log.info({ run: ref.runId, execution: ref.execution, agent: agent.name }, 'the sandbox is ready')
  return hadSession ? 'restored' : 'fresh'
}

/** A sandbox that was opened to collect the work product runs without an agent. */
async function hasAgent({ agent, state }: Execution, sandbox: Sandbox): Promise<boolean> {
  if (agent.protocol === 'command') return state.get().setupDone
  return state.get().sessionId !== null && (await sandbox.agent()) !== null
}

/** The agent's program on this machine, installed when it is not there yet; null where the harness needs none. */
async function toolkitOf({ deps, ref, agent, transcript, stop }: Execution): Promise<string | null> {
  if (agent.protocol !== 'acp') return null
  const notes = transcript.notes(`install-${ref.execution}`)
  let told = Promise.resolve()
  const toolkit = await installAgent(agent, {
    directory: deps.agentsDirectory,
    signal: stop,
    onProgress: (text) => {
      told = told.then(() => notes.add('setup', { step: 'install', stream: 'stdout', text }))
      told.catch(() => {}) // Heard below, which may be minutes later.
    },
  })
  await told
  return toolkit
}

async function currentSandbox({ deps, ref, state }: Execution): Promise<Sandbox | null> {
  const { generation } = state.get()
  return generation === 0 ? null : deps.host.find(ref.runId, generation)
}

/** The latest sandbox if it can still be worked in; else the next one. One sandbox holds one agent process. */
export async function usableSandbox(execution: Execution): Promise<Sandbox> {
  const { deps, ref, order, state, stop } = execution
  const current = await currentSandbox(execution)
  if (current && (await current.isRunning())) return current
  const toolkit = await toolkitOf(execution)
  await state.set({ generation: nextGeneration(state.get().generation, ref.execution) })
  return deps.host.open({
    runId: ref.runId,
    generation: state.get().generation,
    image: order.environment.image ?? null,
    toolkit,
    signal: stop,
  })
}

/** No execution starts as many sandboxes. */
const GENERATIONS = 1_000

/**
 * A run whose former workspace was removed begins anew on this host, and its
 * sandboxes must not have the names of former ones: a journal's name stands for
 * lines that are stored already.
 */
export const nextGeneration = (latest: number, execution: number): number =>
  (latest === 0 ? (execution - 1) * GENERATIONS : latest) + 1

async function startAgent(execution: Execution, agent: AcpAgent, sandbox: Sandbox): Promise<void> {
  const { deps, ref, order, policy, state, transcript, stop } = execution
  const toolkit = await toolkitOf(execution)
  const paths = deps.host.paths(ref.runId, toolkit)
  const cwd = workingDirectory(paths.workspace, order)
  let journal = await sandbox.agent()
  if (journal === null) {
    const launch = agent.launch({
      home: paths.home,
      workspace: cwd,
      toolkit: paths.toolkit,
      node: paths.node,
      gatewayUrl: `${deps.gatewayUrl}/${agent.provider}`,
      gatewayToken: await deps.server.credential(ref.runId, ref.execution, stop),
      model: order.model,
      reasoningLevel: order.reasoning_level,
      policy,
      isolated: deps.host.kind === 'docker',
      runsAsRoot: deps.host.runsAsRoot,
    })
    await writeHomeFiles(state.paths, launch.files, deps.host.owner)
    const env = { ...commitIdentity(), ...order.environment.env, ...launch.env }
    journal = await sandbox.startAgent({ command: launch.command, env, cwd })
  }
  const former = state.get().sessionId
  const opened = await openSession({
    journal,
    claims: claims(state.paths),
    cwd,
    resumeSessionId: former,
    quirks: agent.quirks,
    policy,
    storedLine: await transcript.storedLine(journal.name),
    record: transcript.record,
    signal: stop,
  })
  await state.set({ sessionId: opened.sessionId })
  if (former !== null && !opened.resumed) {
    await transcript.notes(`session-${ref.execution}`).add('warning', {
      code: 'session_not_resumed',
      message: 'The agent could not open its former session: it knows the workspace, but not what was said before.',
    })
  }
}

/** Agents work in the repository when there is just one, else above all of them. */
export function workingDirectory(workspace: string, order: ExecutionOrder): string {
  const [only, ...others] = order.environment.repos
  return only && others.length === 0 ? `${workspace}/${repositoryPath(only)}` : workspace
}
