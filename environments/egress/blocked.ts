// What was refused to each sandbox, counted by host and port, in one file for each sandbox.
import { readFile, rename, writeFile } from 'node:fs/promises'

export interface BlockedHost {
  host: string
  port: number
  count: number
  first_seen: string
}

/** An agent that tries names without end fills no disk: what is beyond is counted under this name. */
const MOST = 500
export const OTHERS = '(others)'
/** A file is written this long after a further attempt, in milliseconds: agents try again at once, and often. */
const WRITE_MS = 200

/** The refusals of one sandbox, in the order of their first time. Goes on from what the file has. */
export async function openBlockedHosts(file: string, now: () => Date = () => new Date()) {
  const hosts: BlockedHost[] = (await readBlockedHosts(file)) ?? []
  let isDue = false
  let written = Promise.resolve()
  const write = async () => {
    // Whole or not at all: the host reads it meanwhile.
    await writeFile(`${file}.new`, JSON.stringify(hosts))
    await rename(`${file}.new`, file)
  }
  let isQueued = false
  const writeNow = () => {
    // One that has not begun yet tells this as well.
    if (isQueued) return
    isQueued = true
    written = written
      .then(() => {
        isQueued = false
        return write()
      })
      // The sandbox may be gone, and its file's directory with it; a full disk is seen elsewhere.
      .catch(() => {})
  }
  return {
    add(host: string, port: number): void {
      const known = find(hosts, host, port) ?? (hosts.length >= MOST ? find(hosts, OTHERS, 0) : undefined)
      if (!known) {
        const [name, number] = hosts.length >= MOST ? [OTHERS, 0] : [host, port]
        hosts.push({ host: name, port: number, count: 1, first_seen: now().toISOString() })
        // At once: what was refused may be the last thing that the sandbox has tried.
        writeNow()
        return
      }
      known.count += 1
      if (isDue) return
      isDue = true
      setTimeout(() => {
        isDue = false
        writeNow()
      }, WRITE_MS)
    },
  }
}

const find = (hosts: readonly BlockedHost[], host: string, port: number) =>
  hosts.find((each) => each.host === host && each.port === port)

/** Null where nothing was refused. */
export async function readBlockedHosts(file: string): Promise<BlockedHost[] | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as BlockedHost[]
  } catch {
    return null // There is no such file.
  }
}
