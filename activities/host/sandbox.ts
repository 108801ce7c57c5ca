// Runs on the worker that holds the sandbox. The sandbox that a run works in: the one that is there, or the next.
import { installAgent } from '../../agents/install.ts'
import { RunFailureError } from '../../domain/failure.ts'
import type { Sandbox } from '../../environments/host.ts'
import { chooseEnvironment, imageOf } from './environment.ts'
import type { Execution } from './execution.ts'
import { placeGitAccess } from './git-broker.ts'

/** The agent's program on this machine, installed when it is not there yet; null where the harness needs none. */
export async function toolkitOf({ deps, ref, agent, transcript, stop }: Execution): Promise<string | null> {
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

export async function currentSandbox({ deps, ref, state }: Execution): Promise<Sandbox | null> {
  const { generation } = state.get()
  return generation === 0 ? null : deps.host.find(ref.runId, generation)
}

/** The latest sandbox if it can still be worked in; else the next one. One sandbox holds one agent process. */
export async function usableSandbox(execution: Execution): Promise<Sandbox> {
  const current = await currentSandbox(execution)
  const sandbox = current && (await current.isRunning()) ? current : await nextSandbox(execution)
  await placeGitAccess(execution, sandbox)
  return sandbox
}

async function nextSandbox(execution: Execution): Promise<Sandbox> {
  const { deps, ref, order, state, stop } = execution
  await chooseEnvironment(execution)
  if (order.environment.image && deps.host.kind === 'direct') throw new RunFailureError(noImages)
  if (order.environment.egress && deps.host.kind === 'direct') throw new RunFailureError(noEgress)
  const toolkit = await toolkitOf(execution)
  const image = await imageOf(execution)
  await state.set({ generation: nextGeneration(state.get().generation, ref.execution) })
  return deps.host.open({
    runId: ref.runId,
    generation: state.get().generation,
    image,
    user: state.get().devcontainer?.user ?? undefined,
    toolkit,
    egress: order.environment.egress,
    signal: stop,
  })
}

/** Seldom met: the server refuses it where it knows that the pool's hosts are all of this kind. */
const noImages = {
  code: 'invalid_run',
  phase: 'workspace',
  message: 'The run names a container image, and this host runs agents as processes of its machine.',
  nextStep: 'Leave the image out, or name a pool of hosts with containers.',
} as const

/** Not ignored: whoever names hosts relies on the others being out of reach. */
const noEgress = {
  code: 'invalid_run',
  phase: 'workspace',
  message: 'The environment names the hosts that it may reach, and this host cannot hold its agents to that.',
  nextStep: 'Leave `egress` out, or name a pool of hosts with containers.',
} as const

/** No execution starts as many sandboxes. */
const GENERATIONS = 1_000

/**
 * A run whose former workspace was removed begins anew on this host, and its
 * sandboxes must not have the names of former ones: a journal's name stands for
 * lines that are stored already.
 */
export const nextGeneration = (latest: number, execution: number): number =>
  (latest === 0 ? (execution - 1) * GENERATIONS : latest) + 1
