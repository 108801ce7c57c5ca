// Which process is at the other end of a connection on this machine, as far as Linux tells.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setLatest } from '../../domain/latest.ts'

/** A connection stays with its process, or those that it has made: asked once for each. */
const known = new WeakMap<Socket, { id: string; is: boolean }>()

/** Whether a process of this PID namespace (`pid:[4026532281]`) holds the other end. */
export async function isPeerInNamespace(socket: Socket, id: string): Promise<boolean> {
  const before = known.get(socket)
  if (before?.id === id) return before.is
  const inode = peerInode(socket)
  const is = inode !== null && isHeldIn(id, inode)
  known.set(socket, { id, is })
  return is
}

/** The process of each namespace that was last found to hold a connection: it is looked at before all others. */
const latest = new Map<string, string>()
/** So many namespaces are remembered; more do not call within the same minutes. */
const REMEMBERED = 1_000

function isHeldIn(namespace: string, inode: string): boolean {
  const before = latest.get(namespace)
  if (before !== undefined && isIn(namespace, before) && holds(before, inode)) return true
  const found = newestFirst().find((pid) => isIn(namespace, pid) && holds(pid, inode))
  if (found === undefined) return false
  setLatest(latest, namespace, found, REMEMBERED)
  return true
}

/** The kernel's number of the socket at the other end; null: it is on another machine, or gone. */
function peerInode(socket: Socket): string | null {
  const { remotePort, localPort } = socket
  if (remotePort === undefined || localPort === undefined) return null
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of linesOf(table)) {
      // sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
      const [, local = '', remote = '', , , , , , , inode] = line.trim().split(/\s+/)
      if (portOf(local) === remotePort && portOf(remote) === localPort && inode !== undefined && inode !== '0')
        return inode
    }
  }
  return null
}

const portOf = (address: string): number => Number.parseInt(address.slice(address.lastIndexOf(':') + 1), 16)

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n').slice(1)
  } catch {
    return [] // No such protocol here.
  }
}

/** Whoever asks for something was as a rule started lately, and has one of the highest numbers. */
const newestFirst = (): string[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .sort((one, other) => Number(other) - Number(one))

const isIn = (namespace: string, pid: string): boolean => linkOf(`/proc/${pid}/ns/pid`) === namespace

function holds(pid: string, inode: string): boolean {
  try {
    const files = readdirSync(`/proc/${pid}/fd`)
    return files.some((file) => linkOf(`/proc/${pid}/fd/${file}`) === `socket:[${inode}]`)
  } catch {
    return false // It has ended.
  }
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path)
  } catch {
    return null // Gone, or another user's.
  }
}
