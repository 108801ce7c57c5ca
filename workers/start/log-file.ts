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

/** The last lines, for people: of structured lines only what they say, and no stack traces. */
export function logTail(file: string, lines = 10): string {
  const size = sizeOf(file)
  if (size === 0) return '(its log is empty)'
  const descriptor = openSync(file, 'r')
  try {
    const from = Math.max(0, fstatSync(descriptor).size - TAIL_BYTES)
    const buffer = Buffer.alloc(TAIL_BYTES)
    const text = buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, TAIL_BYTES, from))
    const whole = text
      .trimEnd()
      .split('\n')
      .slice(from === 0 ? 0 : 1)
    const readable = whole.filter((line) => line.trim() !== '' && !/^\s+at /.test(line))
    return readable.slice(-lines).map(plain).join('\n')
  } finally {
    closeSync(descriptor)
  }
}

const LogLine = z.looseObject({
  level: z.string(),
  msg: z.string().default(''),
  err: z.looseObject({ message: z.string() }).optional(),
})

function plain(line: string): string {
  if (!line.startsWith('{')) return line
  try {
    const { level, msg, err } = LogLine.parse(JSON.parse(line))
    return `${level}: ${[msg, err?.message].filter(Boolean).join(': ')}`
  } catch {
    return line // Not one of our lines after all.
  }
}
