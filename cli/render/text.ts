// Text of agents and logs, made safe and fit for a terminal.
import { stripVTControlCharacters } from 'node:util'
import { typed } from '../../config.ts'

// Control characters but tab and newline, and the marks that reverse the direction of text:
// what an agent prints must not move the cursor, set the title, or show other words than it says.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about.
const unsafe = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

// Those, and what takes no room at all.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about.
const hiding = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** Without escape sequences and control characters; a line rewritten with carriage returns keeps its last version. */
export function clean(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/\r+\n/g, '\n')
    .replace(/^[^\n]*\r(?=[^\n])/gm, '')
    .replace(unsafe, '')
}

/** What the server advises, with the command as the person typed it: the server cannot know that. */
export const asTyped = (advice: string): string => advice.replaceAll('`ambient ', `\`${typed} `)

/** As {@link clean}, but what could hide something is shown as an escape: for what a person has to agree to. Tabs are kept. */
export const visible = (text: string): string =>
  text.replace(hiding, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)

const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
const combining = /\p{Mark}|\u200d/u

/** Columns that a text takes on a terminal. */
export function columns(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: plain ASCII is the common case and needs no look at each character.
  if (/^[\u0000-\u007f]*$/.test(text)) return text.length
  let sum = 0
  for (const character of text) sum += wide.test(character) ? 2 : combining.test(character) ? 0 : 1
  return sum
}

/** The first line, cut to a width, with an ellipsis where something is left out. */
export function oneLine(text: string, width: number): string {
  const lines = clean(text).trim().split('\n')
  const first = (lines[0] ?? '').replaceAll('\t', ' ').trimEnd()
  if (lines.length === 1 && columns(first) <= width) return first
  let cut = ''
  let taken = 0
  for (const character of first) {
    const size = columns(character)
    if (taken + size > width - 1) break
    cut += character
    taken += size
  }
  return `${cut.trimEnd()}…`
}

export const plural = (count: number, noun: string) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`

/** 512 B, 3.2 kB, 14 MB. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** `820 ms`, `42 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`; with one unit `42 s`, `3 min`, `2 h`, `3 d`. */
export function duration(ms: number, unitCount = 2): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`
  const seconds = Math.round(ms / 1_000)
  if (seconds < 60) return `${seconds} s`
  const units: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ]
  const first = units.findIndex(([size]) => seconds >= size)
  const parts: string[] = []
  let rest = seconds
  for (const [size, name] of units.slice(first, first + unitCount)) {
    const count = Math.floor(rest / size)
    if (count > 0) parts.push(`${count} ${name}`)
    rest -= count * size
  }
  return parts.join(' ')
}

/** Milliseconds of an ISO 8601 duration such as `PT2M30S`. */
export function parseIsoDuration(iso: string): number | null {
  const match = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(iso)
  if (!match) return null
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0))
  return (((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60_000 + (seconds ?? 0) * 1_000
}
