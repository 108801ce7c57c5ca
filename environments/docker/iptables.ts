// Asks and tells the packet filter of the machine that the Docker daemon is on.
import { execFile, spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import type Docker from 'dockerode'
import { ask } from './daemon.ts'
import { FrameReader, STDERR, STDOUT } from './frames.ts'
import { ensureImage } from './image.ts'

export interface Iptables {
  /** How often it may be asked without a thought: in this process, or by a container that is made for it. */
  readonly way: 'process' | 'container'
  /** What `iptables-save -t filter` says. */
  save(): Promise<string>
  /** All of it, or an error and nothing. */
  restore(rules: string): Promise<void>
}

const run = promisify(execFile)

/** Others may hold the lock of the tables, the daemon above all. */
const LIMIT_MS = 20_000
const RESTORE = ['--noflush', '--wait', '10'] as const

/** For a root user on the daemon's own machine. */
const byProcess: Iptables = {
  way: 'process',
  async save() {
    return (await run('iptables-save', ['-t', 'filter'], { timeout: LIMIT_MS, maxBuffer: 64 * 1024 * 1024 })).stdout
  },
  async restore(rules) {
    const child = spawn('iptables-restore', RESTORE, { stdio: ['pipe', 'ignore', 'pipe'], timeout: LIMIT_MS })
    const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
    child.stdin.on('error', () => {}) // It has ended early: told by its code.
    child.stdin.end(rules)
    const [code, errors] = await Promise.all([ended, text(child.stderr)])
    if (code !== 0) throw new Error(`iptables-restore: ${errors.trim() || `ended with ${code}`}`)
  },
}

/** For everybody else who may use the daemon: the machine's own iptables, the one the daemon uses, run in a container on the machine's network. */
function byContainer(docker: Docker, image: string): Iptables {
  return {
    way: 'container',
    save: () => inContainer(docker, image, 'exec chroot /machine iptables-save -t filter', ''),
    async restore(rules) {
      const script = `printf %s "$AMBIENT_RULES" | chroot /machine iptables-restore ${RESTORE.join(' ')}`
      await inContainer(docker, image, script, rules)
    },
  }
}

async function inContainer(docker: Docker, image: string, script: string, rules: string): Promise<string> {
  await ensureImage(docker, image)
  const container = await ask('claim', () =>
    docker.createContainer({
      Image: image,
      Labels: { 'ambient.helper': 'iptables' },
      Entrypoint: ['/bin/sh', '-c', script],
      Cmd: [],
      Healthcheck: { Test: ['NONE'] },
      User: '0:0',
      WorkingDir: '/',
      Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', `AMBIENT_RULES=${rules}`],
      HostConfig: {
        NetworkMode: 'host',
        CapDrop: ['ALL'],
        CapAdd: ['NET_ADMIN', 'NET_RAW', 'SYS_CHROOT'],
        SecurityOpt: ['no-new-privileges'],
        ReadonlyRootfs: true,
        Memory: 256 * 1024 * 1024,
        PidsLimit: 32,
        LogConfig: { Type: 'json-file', Config: {} },
        Mounts: [{ Type: 'bind', Source: '/', Target: '/machine', ReadOnly: true }],
      },
    }),
  )
  try {
    await ask('claim', () => container.start())
    const { StatusCode: code } = (await ask('claim', () => container.wait())) as { StatusCode: number }
    const log = await ask('claim', () => container.logs({ follow: false, stdout: true, stderr: true }))
    const said = (stream: typeof STDOUT | typeof STDERR) =>
      Buffer.concat(new FrameReader(stream).push(log)).toString('utf8')
    if (code !== 0) throw new Error(said(STDERR).trim() || `ended with ${code}`)
    return said(STDOUT)
  } finally {
    await container.remove({ force: true, v: true }).catch(() => {}) // It is gone, or the daemon is.
  }
}

/**
 * A way to the packet filter that has the bridge. @throws when there is none,
 * with what each has said.
 */
export async function openIptables(docker: Docker, bridge: string, image: string): Promise<Iptables> {
  const reasons: string[] = []
  const ways = (await isOnThisMachine(bridge)) ? [byProcess, byContainer(docker, image)] : [byContainer(docker, image)]
  for (const way of ways) {
    try {
      await way.save()
      return way
    } catch (error) {
      reasons.push(`${way.way === 'process' ? 'here' : `in a container of ${image}`}: ${wordsOf(error)}`)
    }
  }
  throw new Error(reasons.join('; '))
}

/** The daemon may be on another machine, or this process in a container. */
async function isOnThisMachine(bridge: string): Promise<boolean> {
  const interfaces = await readdir('/sys/class/net').catch((): string[] => []) // Not Linux.
  return interfaces.includes(bridge)
}

const wordsOf = (error: unknown) =>
  (error instanceof Error ? error.message : String(error)).trim().split('\n').join(' ')
