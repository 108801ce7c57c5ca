// Makes images of repositories' Dockerfiles: the same content once, however many runs want it at the same time.
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import type Docker from 'dockerode'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import type { ImageBuild } from '../devcontainer/devcontainer.ts'
import { readInside } from '../devcontainer/file.ts'
import { type BuildContext, contextHash, DOCKERFILE, packContext } from './build-context.ts'
import { watchBuildDisk } from './build-disk.ts'
import { type BuildLine, buildOutput } from './build-output.ts'
import { limitProcesses } from './build-processes.ts'
import { type Limits, ULIMITS } from './container.ts'
import { ask, askFor, explained, messageOf, statusOf } from './daemon.ts'
import { baseImages, readDockerfile, remoteAdd } from './dockerfile.ts'
import { ensureImage } from './image.ts'
import type { FetchedImages } from './image-upkeep.ts'

/** Built images have this name, and their content as tag. */
export const REPOSITORY = 'ambient-devcontainer'

export interface BuildSettings {
  /** Longest time of one build; 0 builds nothing. */
  minutes: number
  /** What its steps reach: what sandboxes reach, or nothing. */
  network: 'sandbox' | 'none'
  /** Most of the disk that one of its steps may take, in bytes. */
  diskBytes: number
}

export interface BuildOptions {
  /** The run's workspace on this machine. */
  workspace: string
  /** Its steps reach nothing, whatever the settings allow them. */
  isolated: boolean
  signal: AbortSignal
  /** Waited for before more is read. */
  onLine(text: string): Promise<void>
}

export type BuildImage = (build: ImageBuild, options: BuildOptions) => Promise<string>

export interface BuildDaemon {
  docker: Docker
  images: FetchedImages
  limits: Limits
  /** The OCI runtime of sandboxes; absent, the daemon's default. */
  runtime?: string | undefined
  /** Makes the network of builds where it is missing, and gives its name. */
  network(): Promise<string>
}

/** A build that goes on, and who waits for it. */
interface Shared {
  result: Promise<void>
  cancel: AbortController
  listeners: Set<BuildOptions['onLine']>
}

/**
 * Makes what builds images. One that is here is not built again; one that is
 * being built is waited for, and ends when nobody waits any more.
 */
export function createImageBuilder(daemon: BuildDaemon, settings: BuildSettings | null): BuildImage {
  const builds = new Map<string, Shared>()

  return async (build, options) => {
    if (settings === null || settings.minutes === 0) throw buildsNone()
    await refuseOtherRuntime(daemon)
    const plan = await planBuild(daemon, build, options)
    if ((await askFor('workspace', () => daemon.docker.getImage(plan.tag).inspect())) !== null) {
      await daemon.images.used(plan.tag)
      return plan.tag
    }
    let shared = builds.get(plan.tag)
    // One that everybody has left is about to end.
    for (; shared?.cancel.signal.aborted; shared = builds.get(plan.tag)) await shared.result.catch(() => {})
    if (shared !== undefined) {
      await waitFor(shared, options, 'Another run has begun to build this image. Its end is waited for.')
      return plan.tag
    }
    shared = begin(daemon, settings, plan)
    builds.set(plan.tag, shared)
    const over = () => void builds.delete(plan.tag)
    shared.result.then(over, over)
    await waitFor(shared, options)
    return plan.tag
  }
}

/** Ends at once when its run is stopped; the build as well, when it was the last to wait. */
async function waitFor(
  { result, cancel, listeners }: Shared,
  { signal, onLine }: BuildOptions,
  greeting?: string,
): Promise<void> {
  const left = Promise.withResolvers<never>()
  left.promise.catch(() => {}) // Heard below, unless the build is over.
  const leave = () => left.reject(signal.reason)
  // Whoever cannot hear any more leaves, and the build goes on for the others.
  const listener = (text: string) => onLine(text).catch((error: unknown) => left.reject(error))
  listeners.add(listener)
  signal.addEventListener('abort', leave, { once: true })
  try {
    signal.throwIfAborted()
    if (greeting !== undefined) await onLine(greeting)
    await Promise.race([result, left.promise])
  } finally {
    signal.removeEventListener('abort', leave)
    listeners.delete(listener)
    if (listeners.size === 0) cancel.abort(new Error('nobody waits for this build any more'))
  }
}

/** The daemon builds with its default runtime, whatever it is asked for. Whoever has said how strangers' code is to be run has not said that. */
async function refuseOtherRuntime({ docker, runtime }: BuildDaemon): Promise<void> {
  if (runtime === undefined) return
  const { DefaultRuntime } = (await ask('workspace', () => docker.info())) as { DefaultRuntime?: string }
  if (DefaultRuntime === runtime) return
  throw failed({
    message: `This host runs sandboxes with ${runtime}, and its Docker daemon would build the run's image with ${DefaultRuntime ?? 'another runtime'}.`,
    nextStep: `Name an image with the run, or make ${runtime} the daemon's default runtime.`,
  })
}

interface Plan {
  tag: string
  isolated: boolean
  build: ImageBuild
  context: Omit<BuildContext, 'signal'>
}

async function planBuild(
  daemon: BuildDaemon,
  build: ImageBuild,
  { workspace, isolated, signal }: BuildOptions,
): Promise<Plan> {
  const written = await readInWorkspace(workspace, build.dockerfile)
  if (written === null) {
    throw failed({
      message: `There is no Dockerfile at ${build.dockerfile}, where devcontainer.json says it is.`,
      nextStep: 'Mend build.dockerfile of devcontainer.json.',
    })
  }
  const { instructions, text: dockerfile } = readDockerfile(written)
  refuseRemoteAdd(instructions, 'The Dockerfile')
  const ignore = await readInWorkspace(workspace, posix.join(build.context, '.dockerignore'))
  const context = { root: workspace, path: build.context, dockerfile, ignore }
  const { images, unknown } = baseImages(instructions, build.args)
  if (unknown.length > 0) throw unknownBase(unknown.join(', '))
  const bases: string[] = []
  for (const image of images) {
    const id = await ensureImage(daemon.docker, image, signal, daemon.images)
    const { Config } = await ask('workspace', () => daemon.docker.getImage(id).inspect())
    const triggers = (Config.OnBuild ?? []) as string[]
    refuseRemoteAdd(
      triggers.flatMap((trigger) => readDockerfile(trigger).instructions),
      `What the image ${image} adds to a Dockerfile (ONBUILD)`,
    )
    bases.push(id)
  }
  const content = await contextHash({ ...context, signal })
  const key = JSON.stringify([content, bases, Object.entries(build.args).toSorted(), build.target])
  const tag = `${REPOSITORY}:${createHash('sha256').update(key).digest('hex').slice(0, 32)}`
  return { tag, isolated, build, context }
}

/** It would reach what sandboxes do not: this machine, its networks, metadata services. */
function refuseRemoteAdd(instructions: readonly string[], whose: string): void {
  const found = remoteAdd(instructions)
  if (found === null) return
  throw failed({
    message: `${whose} has the daemon fetch a file from the web, outside of the network of sandboxes, or may: a variable tells where from.`,
    command: found,
    nextStep: 'Fetch it in a RUN step, or name an image with the run. For files of the repository there is COPY.',
  })
}

function readInWorkspace(workspace: string, path: string): Promise<string | null> {
  const [repository = '', ...rest] = path.split('/')
  return readInside(workspace, repository, rest.join('/'))
}

function begin(daemon: BuildDaemon, settings: BuildSettings, plan: Plan): Shared {
  const cancel = new AbortController()
  const listeners: Shared['listeners'] = new Set()
  const say = async (text: string) => void (await Promise.all([...listeners].map((listen) => listen(text))))
  return { result: carryOut(daemon, settings, plan, cancel.signal, say), cancel, listeners }
}

/** The client's types do not know it. */
const NO_CORE_DUMPS = { ulimits: JSON.stringify(ULIMITS) }

async function carryOut(
  daemon: BuildDaemon,
  settings: BuildSettings,
  { tag, isolated, build, context }: Plan,
  cancelled: AbortSignal,
  say: BuildOptions['onLine'],
): Promise<void> {
  const { docker, images, limits } = daemon
  const tooLong = AbortSignal.timeout(settings.minutes * 60_000)
  const disk = watchBuildDisk(docker, settings.diskBytes)
  const unread = new AbortController()
  const signal = AbortSignal.any([cancelled, tooLong, disk.exceeded, unread.signal])
  const began = Date.now()
  const progress = { step: null as string | null, layer: null as string | null, log: '' }
  const tar = packContext({ ...context, signal })
  tar.on('error', (error: unknown) => unread.abort(error))
  try {
    const network = isolated || settings.network === 'none' ? 'none' : await daemon.network()
    const memory = limits.memoryMb * 1024 * 1024
    const answer = await docker.buildImage(tar, {
      t: tag,
      dockerfile: DOCKERFILE,
      buildargs: build.args,
      ...(build.target === null ? {} : { target: build.target }),
      networkmode: network,
      memory,
      memswap: memory,
      ...NO_CORE_DUMPS,
      cpuperiod: 100_000,
      cpuquota: Math.round(limits.cpus * 100_000),
      labels: { 'ambient.image': REPOSITORY },
      rm: true,
      forcerm: true,
      abortSignal: signal,
    })
    for await (const line of buildOutput(answer)) {
      if (line.kind === 'failed') throw new StepError(line)
      note(progress, line)
      if (line.container !== null) {
        disk.watch(line.container)
        const step = { network, memoryBytes: memory, pids: limits.pids, began }
        // One that is over cannot be limited; a daemon that has gone is told of by the build itself.
        await limitProcesses(docker, line.container, step).catch(() => {})
      }
      await say(line.text)
    }
    const { Id } = await ask('workspace', () => docker.getImage(tag).inspect())
    await images.fetched(tag, Id)
  } catch (error) {
    await noteRest(daemon, progress.layer, began)
    cancelled.throwIfAborted()
    const details = {
      ...(progress.step === null ? {} : { command: progress.step }),
      logTail: progress.log === '' ? undefined : logTail(progress.log),
    }
    if (tooLong.aborted) throw failed({ ...details, ...tooSlow(settings.minutes) })
    if (disk.exceeded.aborted) throw failed({ ...details, ...tooLarge(settings.diskBytes) })
    throw explainedBuild(unread.signal.aborted ? unread.signal.reason : error, details)
  } finally {
    disk.stop()
    tar.destroy()
  }
}

/** A step of the Dockerfile did not succeed. */
class StepError extends Error {
  override readonly name = 'StepError'
  readonly exitCode: number | null

  constructor({ message, exitCode }: Extract<BuildLine, { kind: 'failed' }>) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Characters of a build's output that are kept for a failure's log. */
const TAIL_CHARS = 8_000

function note(
  progress: { step: string | null; layer: string | null; log: string },
  line: Extract<BuildLine, { kind: 'text' }>,
): void {
  progress.step = line.step ?? progress.step
  progress.layer = line.layer ?? progress.layer
  progress.log = `${progress.log}${line.text}\n`.slice(-TAIL_CHARS)
}

/** What a build leaves that came to nothing is kept for the next one, and removed with images that nobody has used for long. */
async function noteRest({ docker, images }: BuildDaemon, layer: string | null, began: number): Promise<void> {
  if (layer === null) return
  const info = await askFor('workspace', () => docker.getImage(layer).inspect()).catch(() => null) // It is what is left, no more.
  if (info === null) return
  const isNamed = (info.RepoTags ?? []).length > 0 || (info.RepoDigests ?? []).length > 0
  // An older one is another build's, or a person's.
  if (!isNamed && Date.parse(info.Created) >= began) await images.fetched(info.Id, info.Id)
}

function explainedBuild(error: unknown, details: Partial<RunFailureError['failure']>): unknown {
  if (error instanceof RunFailureError) return error
  const known = explained(error, 'workspace')
  if (known instanceof RunFailureError) return known
  const isStep = error instanceof StepError
  const status = statusOf(error)
  // Nothing that the daemon has said: it went away, or the context could not be read.
  if (!isStep && status === null) return error
  const said = messageOf(error)
  const exitCode = isStep && error.exitCode !== null ? { exitCode: error.exitCode } : {}
  const log = `${details.logTail ?? ''}\n${said}`.trim()
  const nextStep = /BuildKit|buildx|unknown flag: (mount|chmod|link)/i.test(said)
    ? 'The host builds with the daemon’s classic builder: leave out what needs BuildKit (RUN --mount, COPY --chmod), or name an image.'
    : 'Mend the Dockerfile, or name an image with the run.'
  return failed({
    message: 'The image of devcontainer.json could not be built.',
    ...details,
    ...exitCode,
    logTail: logTail(log),
    nextStep,
  })
}

const buildsNone = () =>
  failed({
    message: 'This host builds no images, and the devcontainer.json of the run has a Dockerfile.',
    nextStep: 'Name an image with the run, or let the host build: AMBIENT_IMAGE_BUILD_MINUTES.',
  })

const unknownBase = (names: string) =>
  failed({
    message: `It cannot be told which image the Dockerfile begins with: ${names}.`,
    nextStep: 'Write the name as it is, or by an ARG before the first FROM that has a value.',
  })

const tooSlow = (minutes: number) => ({
  message: `Building the image of devcontainer.json took longer than ${minutes} minutes.`,
  nextStep:
    'Have the Dockerfile do less, build the image elsewhere and name it, or raise AMBIENT_IMAGE_BUILD_MINUTES of the host.',
})

const tooLarge = (bytes: number) => ({
  message: `A step of the Dockerfile takes more than ${Math.round((bytes / 1024 ** 3) * 100) / 100} GiB of the disk.`,
  nextStep: 'Have the step write less, or raise AMBIENT_DISK_GB of the host.',
})

function failed(failure: Omit<RunFailureError['failure'], 'code' | 'phase'>): RunFailureError {
  return new RunFailureError({ code: 'image_build_failed', phase: 'workspace', ...failure })
}
