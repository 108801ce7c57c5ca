// Asks and tells the packet filter of the machine that the Docker daemon is on.
import { execFile, spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import type Docker from 'dockerode'
import { runHelper } from './helper-container.ts'

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

const inContainer = (docker: Docker, image: string, script: string, rules: string): Promise<string> =>
  runHelper(docker, image, {
    name: 'iptables',
    phase: 'claim',
    script,
    env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', `AMBIENT_RULES=${rules}`],
    host: {
      NetworkMode: 'host',
      CapAdd: ['NET_ADMIN', 'NET_RAW', 'SYS_CHROOT'],
      Memory: 256 * 1024 * 1024,
      Mounts: [{ Type: 'bind', Source: '/', Target: '/machine', ReadOnly: true }],
    },
  })

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
