// Log files of the parts: appended to, bounded in size, shown in part when something fails.
import {
  closeSync,
  copyFileSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'

/** A log that has grown beyond this is put aside as `<name>.1`, in place of the one put aside before. */
export const LOG_BYTES = 32 * 1024 * 1024

/** Opens for appending. The caller closes it. */
export function openLog(file: string): number {
  mkdirSync(dirname(file), { recursive: true })
  if (sizeOf(file) > LOG_BYTES) renameSync(file, `${file}.1`)
  return openSync(file, 'a', 0o640)
}

/** Bounds a log that a running program has open: it appends, so it goes on at the new end. */
export function boundLog(file: string): void {
  if (sizeOf(file) <= LOG_BYTES) return
  copyFileSync(file, `${file}.1`)
  truncateSync(file)
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

const TAIL_BYTES = 16 * 1024

/** Where a log ends now: what is written from here on is of whoever writes next. */
export const logEnd = (file: string): number => sizeOf(file)

/**
 * The last lines after a place in the log, for people: of structured lines only
 * warnings and errors, and what they say; no stack traces. Empty when there are none.
 */
export function logTail(file: string, after = 0, lines = 10): string {
  const size = sizeOf(file)
  if (size === 0) return ''
  const descriptor = openSync(file, 'r')
  try {
    const end = fstatSync(descriptor).size
    // A log that was put aside meanwhile begins anew.
    const from = Math.max(after <= end ? after : 0, end - TAIL_BYTES)
    const buffer = Buffer.alloc(TAIL_BYTES)
    const text = buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, TAIL_BYTES, from))
    const whole = text
      .trimEnd()
      .split('\n')
      .slice(from === 0 || from === after ? 0 : 1)
    return whole
      .filter((line) => line.trim() !== '' && !/^\s+at /.test(line))
      .map(plain)
      .filter((line) => line !== null)
      .slice(-lines)
      .join('\n')
  } finally {
    closeSync(descriptor)
  }
}

const LogLine = z.looseObject({
  level: z.string(),
  msg: z.string().default(''),
  /** As our parts say it, and as Temporal does. */
  err: z.looseObject({ message: z.string() }).optional(),
  error: z.string().optional(),
})

/** Null for a line that says how things go, and not what went wrong. */
function plain(line: string): string | null {
  if (!line.startsWith('{')) return line
  try {
    const { level, msg, err, error } = LogLine.parse(JSON.parse(line))
    if (['trace', 'debug', 'info'].includes(level.toLowerCase())) return null
    return `${level}: ${[msg, err?.message, error].filter(Boolean).join(': ')}`
  } catch {
    return line // Not one of our lines after all.
  }
}
