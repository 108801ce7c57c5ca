// A container that does one thing on the daemon's own machine, for whoever may use the daemon and is not there.
import type Docker from 'dockerode'
import type { Phase } from '../../domain/state.ts'
import { ask } from './daemon.ts'
import { FrameReader, STDERR, STDOUT } from './frames.ts'
import { ensureImage } from './image.ts'

export interface Helper {
  /** What it does, in a word: its label. */
  name: string
  phase: Phase
  /** For the shell of the image, as its root, and its arguments. */
  script: string
  args?: string[]
  env?: string[]
  /** What it may do and see beside what it is refused like every other one. */
  host: Docker.HostConfig
}

/** @returns what it has printed. @throws what it says on stderr, where it does not end with 0. */
export async function runHelper(docker: Docker, image: string, helper: Helper): Promise<string> {
  const { name, phase, script, args = [], env = [] } = helper
  await ensureImage(docker, image)
  const container = await ask(phase, () =>
    docker.createContainer({
      Image: image,
      Labels: { 'ambient.helper': name },
      Entrypoint: ['/bin/sh', '-c', script, name, ...args],
      Cmd: [],
      Healthcheck: { Test: ['NONE'] },
      User: '0:0',
      WorkingDir: '/',
      Env: env,
      HostConfig: {
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        PidsLimit: 32,
        LogConfig: { Type: 'json-file', Config: {} },
        ...helper.host,
      },
    }),
  )
  try {
    await ask(phase, () => container.start())
    const { StatusCode: code } = (await ask(phase, () => container.wait())) as { StatusCode: number }
    const log = await ask(phase, () => container.logs({ follow: false, stdout: true, stderr: true }))
    const said = (stream: typeof STDOUT | typeof STDERR) =>
      Buffer.concat(new FrameReader(stream).push(log)).toString('utf8')
    if (code !== 0) throw new Error(said(STDERR).trim() || `ended with ${code}`)
    return said(STDOUT)
  } finally {
    await container.remove({ force: true, v: true }).catch(() => {}) // It is gone, or the daemon is.
  }
}
