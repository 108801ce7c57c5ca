// Git's pkt-lines, as far as a push is read and answered by the broker (gitprotocol-pack, gitprotocol-common), and as
// far as it asks a server itself (gitprotocol-v2).
import type { Peek } from './peek.ts'

/** A ref that a push wants to change: objects by their ids, of which zeros mean none. */
export interface PushCommand {
  from: string
  to: string
  ref: string
}

export interface PushHead {
  commands: PushCommand[]
  capabilities: ReadonlySet<string>
  /** Where the list ends, with its flush. */
  end: number
}

/** What was sent is no push as git makes it. */
export class PushFormatError extends Error {
  override readonly name = 'PushFormatError'
}

/** Thousands of refs fit. */
const HEAD_BYTES = 1024 * 1024
const LENGTH = 4

/**
 * Reads the list of commands from the front of a push.
 * @throws {PushFormatError}
 */
export async function readPushHead(push: Peek): Promise<PushHead> {
  let at = 0
  const lines: string[] = []
  const until = async (end: number) => {
    if (!(await push.has(end))) throw new PushFormatError('The push ends within its list of refs.')
    return push.bytes
  }
  for (;;) {
    if (at > HEAD_BYTES) throw new PushFormatError(`The list of refs is longer than ${HEAD_BYTES} bytes.`)
    const length = lengthAt(await until(at + LENGTH), at)
    if (length === null) throw new PushFormatError('The push is not made of pkt-lines.')
    if (length === 0) break
    if (length <= LENGTH) throw new PushFormatError('The list of refs has a line that is none.')
    lines.push((await until(at + length)).toString('utf8', at + LENGTH, at + length))
    at += length
  }
  return { ...parseCommands(lines), end: at + LENGTH }
}

/** Of the line that begins here; null where none does. */
function lengthAt(bytes: Buffer, at: number): number | null {
  const text = bytes.toString('latin1', at, at + LENGTH)
  return /^[0-9a-f]{4}$/i.test(text) ? Number.parseInt(text, 16) : null
}

const OBJECT = '([0-9a-f]{40}|[0-9a-f]{64})'
const COMMAND = new RegExp(`^${OBJECT} ${OBJECT} ([^\\0\\n]+)$`)

function parseCommands(lines: readonly string[]): Omit<PushHead, 'end'> {
  const capabilities = new Set<string>()
  const commands: PushCommand[] = []
  for (const line of lines) {
    // The first command, or the certificate, has the capabilities behind a NUL. Git takes those of any line.
    const [text = '', ...said] = line.split('\0')
    for (const each of said.join(' ').split(/[ \n]+/)) if (each !== '') capabilities.add(each)
    const plain = text.replace(/\n$/, '')
    if (plain.startsWith('shallow ')) continue
    // Its commands stand within the certificate.
    if (plain === 'push-cert') throw new PushFormatError('Signed pushes are not passed on. Push with --no-signed.')
    const [, from, to, ref] = COMMAND.exec(plain) ?? []
    if (from === undefined || to === undefined || ref === undefined)
      throw new PushFormatError('The list of refs has a line that is no command.')
    commands.push({ from, to, ref })
  }
  return { commands, capabilities }
}

export const isDeletion = ({ to }: PushCommand): boolean => /^0+$/.test(to)
export const isCreation = ({ from }: PushCommand): boolean => /^0+$/.test(from)

const line = (content: Buffer | string): Buffer => {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from((bytes.length + LENGTH).toString(16).padStart(LENGTH, '0')), bytes])
}
const FLUSH = Buffer.from('0000')
/** The most that one pkt-line of a side band carries, its number included, for clients of old. */
const BAND_BYTES = 995

const band = (number: number, content: Buffer): Buffer[] => {
  const parts: Buffer[] = []
  for (let at = 0; at < content.length; at += BAND_BYTES)
    parts.push(line(Buffer.concat([Buffer.from([number]), content.subarray(at, at + BAND_BYTES)])))
  return parts
}

/** By them forges do more than push: they open a merge request that merges itself, or make a repository public. */
export const hasOptions = (capabilities: ReadonlySet<string>): boolean => capabilities.has('push-options')

/** Git reports nothing of a push whose client has not asked for it, and such a client takes any answer for a success. */
export const wantsReport = (capabilities: ReadonlySet<string>): boolean =>
  capabilities.has('report-status') || capabilities.has('report-status-v2')

/** The answer to a push of which nothing is done: why, by ref, and a message to the person. */
export function refusalReport(
  capabilities: ReadonlySet<string>,
  reasons: readonly { ref: string; reason: string }[],
  message: string,
): Buffer {
  const status = Buffer.concat([
    line('unpack ok\n'),
    ...reasons.map(({ ref, reason }) => line(`ng ${ref} ${reason}\n`)),
    FLUSH,
  ])
  if (!capabilities.has('side-band-64k') && !capabilities.has('side-band')) return status
  return Buffer.concat([...band(2, Buffer.from(`${message}\n`)), ...band(1, status), FLUSH])
}

/** The default branch as the first ref of an advertisement (protocol version 0) tells it; null: it does not. */
export function defaultBranchIn(advertisement: Buffer): string | null {
  const text = advertisement.toString('latin1')
  return /[\0 ]symref=HEAD:refs\/heads\/([^ \n\0]+)/.exec(text)?.[1] ?? null
}

/** Whether an advertisement (protocol version 2) offers to leave objects out. */
export const offersFilter = (advertisement: Buffer): boolean =>
  /\n[0-9a-f]{4}fetch=([^\n]* )?filter[ \n]/.test(advertisement.toString('latin1'))

/** Asks for what is new to whoever has a commit (protocol version 2, `fetch`): for its commits alone, or all of it. */
export function fetchRequest(wanted: readonly string[], known: string, what: 'commits' | 'all'): Buffer {
  const format = hashOf(known) === 'sha256' ? [line('object-format=sha256')] : []
  const filter = what === 'commits' ? ['filter tree:0'] : []
  const wants = wanted.map((id) => `want ${id}`)
  const asked = ['no-progress', 'ofs-delta', ...filter, ...wants, `have ${known}`, 'done']
  return Buffer.concat([line('command=fetch'), ...format, DELIMITER, ...asked.map((each) => line(each)), FLUSH])
}
const DELIMITER = Buffer.from('0001')

/** By the length of an object's id. */
export const hashOf = (id: string): 'sha1' | 'sha256' => (id.length === 64 ? 'sha256' : 'sha1')

/** The pack in the answer to {@link fetchRequest}, as it comes; nothing where there is none. */
export async function* packIn(answer: Peek): AsyncGenerator<Buffer> {
  let isPack = false
  for (let at = 0; await answer.has(at + LENGTH); ) {
    const length = lengthAt(answer.bytes, at)
    // Below the length of an empty line they are marks between lines.
    const end = at + Math.max(length ?? 0, LENGTH)
    if (length === null || !(await answer.has(end))) return
    const content = answer.bytes.subarray(at + LENGTH, end)
    if (!isPack) isPack = content.toString('latin1') === 'packfile\n'
    else if (content[0] === PACK_BAND) yield content.subarray(1)
    else if (length === 0) return
    at = end
  }
}
const PACK_BAND = 1
