// Runs on the worker that holds the sandbox. What a run works in, by its request and its devcontainer.json: chosen once, before anything of it has run.
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { newEvent } from '../../agents/acp/events.ts'
import { createRecorder } from '../../agents/acp/recorder.ts'
import { RunFailureError } from '../../domain/failure.ts'
import {
  type DevcontainerChoice,
  type EffectiveEnvironment,
  effectiveEnvironment,
  type ImageBuild,
  namesImageVariables,
  noDevcontainer,
  readDevcontainer,
  withImageVariables,
} from '../../environments/devcontainer/devcontainer.ts'
import { cloneRepositories } from '../../environments/git/repositories.ts'
import type { Images } from '../../environments/host.ts'
import type { Owner } from '../../environments/run-directory.ts'
import type { RunState } from './deps.ts'
import type { Execution } from './execution.ts'
import { gitAccessOf } from './git-broker.ts'
import { withWarnings } from './warnings.ts'

/** What the run works in, once it is chosen: before that, and where there is no devcontainer.json, what was asked for. */
export const environmentOf = (execution: Pick<Execution, 'deps' | 'order' | 'state'>): EffectiveEnvironment =>
  effectiveEnvironment(execution.order.environment, chosen(execution)?.choice ?? noDevcontainer)

/** Whom the run's files belong to. */
export const ownerOf = (execution: Pick<Execution, 'deps' | 'state'>): Owner =>
  chosen(execution)?.user ?? execution.deps.host.owner

/** A run may have begun on this machine while its sandboxes were containers, and they are none any more. */
const chosen = ({ deps, state }: Pick<Execution, 'deps' | 'state'>): RunState['devcontainer'] =>
  deps.host.images === null ? null : state.get().devcontainer

/**
 * Reads the devcontainer.json of the run's repositories, and has its image
 * built. What is chosen stays for all sandboxes of the run, whatever the agent
 * makes of the file. Idempotent.
 */
export async function chooseEnvironment(execution: Execution): Promise<void> {
  const { deps, ref, order, state } = execution
  const { devcontainer, generation, prepared } = state.get()
  // With a sandbox and no choice: a former version of this host has begun it; or it began from a prepared environment, in vain.
  if (devcontainer !== null || (generation > 0 && prepared?.kind !== 'given_up')) return
  const workspace = { directory: state.paths.workspace, inside: deps.host.paths(ref.runId, null).workspace }
  const { images } = deps.host
  if (images === null) {
    // That it may be broken is of no interest where it counts for nothing.
    const isThere = await readDevcontainer(order.environment, workspace).then(
      ({ file }) => file !== null,
      (error: unknown) => error instanceof RunFailureError || Promise.reject(error),
    )
    const warnings = isThere ? [warningOf({ property: null, message: DIRECT })] : []
    await tell(execution, warnings)
    await state.set({ devcontainer: { choice: noDevcontainer, user: null }, ...withWarnings(execution, warnings) })
    return
  }
  const { notes, ...written } = await readDevcontainer(order.environment, workspace)
  const chosen = await withImage(execution, images, written)
  const refusal = chosen.user && images.refusal(chosen.user)
  if (refusal !== null) {
    notes.push({ property: 'remoteUser', message: `The run does not work as ${written.user}: ${refusal}.` })
  }
  const warnings = notes.map(warningOf)
  await tell(execution, warnings)
  await state.set({
    devcontainer: { ...chosen, user: refusal === null ? chosen.user : null },
    ...withWarnings(execution, warnings),
  })
}

const DIRECT =
  'A devcontainer.json has no effect: this host runs agents as processes of its machine. Its commands are not run.'

/** With everything that only the image tells. */
async function withImage(
  execution: Execution,
  images: Images,
  written: DevcontainerChoice,
): Promise<NonNullable<RunState['devcontainer']>> {
  const { ref, order, state, stop: signal } = execution
  const built = written.build && (await buildImage(execution, images, written.build, state.paths.workspace))
  const choice = { ...written, image: built ?? written.image }
  const image = order.environment.image ?? choice.image
  const user = choice.user === null ? null : await images.user({ runId: ref.runId, image, name: choice.user, signal })
  if (!namesImageVariables(choice)) return { choice, user }
  return { choice: withImageVariables(choice, await images.variables(image, signal)), user }
}

const warningOf = ({ property, message }: { property: string | null; message: string }) => ({
  code: 'devcontainer',
  message,
  ...(property === null ? {} : { property }),
})

async function tell({ transcript, ref }: Execution, warnings: RunState['warned']): Promise<void> {
  const said = transcript.notes(`devcontainer-${ref.execution}`)
  for (const warning of warnings) await said.add('warning', warning)
}

async function buildImage(
  { ref, order, transcript, stop: signal }: Execution,
  images: Images,
  build: ImageBuild,
  workspace: string,
): Promise<string> {
  const journal = `image-${ref.execution}`
  // What a former attempt has said stays, and this one goes on after it.
  let line = await transcript.storedLine(journal)
  const recorder = createRecorder({ journal, storedLine: line, record: transcript.record })
  try {
    return await images.build(build, {
      workspace,
      // The daemon's builds know no list of hosts: nobody is to get around the run's by a Dockerfile.
      isolated: order.environment.egress !== undefined,
      signal,
      async onLine(text) {
        line += 1
        recorder.add(line, [newEvent(line, 0, { kind: 'setup', data: { step: 'image', stream: 'stdout', text } })])
        await recorder.room()
      },
    })
  } finally {
    await recorder.flush()
  }
}

/**
 * The image for another sandbox of the run; null is the host's default. A built
 * one may have been removed meanwhile. It is made again from the repository as
 * the run began with it: what is in the workspace now is the agent's.
 */
export async function imageOf(execution: Execution): Promise<string | null> {
  const { deps, order, state, stop } = execution
  const { image, build } = environmentOf(execution)
  const { devcontainer, cloned } = state.get()
  const { images } = deps.host
  if (images === null || build === null || devcontainer === null || image === null) return image
  if ((await deps.host.imageId(image)) !== null) return image
  const directory = join(state.paths.root, 'as-it-began')
  const workspace = join(directory, 'workspace')
  try {
    await mkdir(workspace, { recursive: true, mode: 0o700 })
    await cloneRepositories({
      repositories: order.environment.repos,
      at: cloned,
      paths: { ...state.paths, workspace, staging: join(directory, 'staging') },
      owner: deps.host.owner,
      access: await gitAccessOf(execution),
      team: order.team,
      signal: stop,
    })
    const built = await buildImage(execution, images, build, workspace)
    await state.set({ devcontainer: { ...devcontainer, choice: { ...devcontainer.choice, image: built } } })
    return built
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  }
}
