// Keeps secret values out of what is stored: as they are, and in the encodings that programs print them in.

/** Stands where a value was. */
export const REDACTED = '***'

/** Shorter values are left: they would be found in half of all texts. In characters. */
export const LEAST_CHARS = 6
/** A line of a value of several lines counts by itself from here on. */
const LINE_CHARS = 8

/** Longer ones are known by their pieces, so that looking at a place never costs more than this. */
const WHOLE_CHARS = 256
/** By so many characters, one piece is known from other text. */
const PIECE = { encoded: 12, plain: 32 }
/** The seed by which a whole value is looked for. */
const SEED = LEAST_CHARS

/** Credentials of runs have this form. */
const CREDENTIAL = /am[bt]_[A-Za-z0-9_-]{40,}/g
/** A credential may begin here. */
const CREDENTIAL_BEGINS = /(?:a|am|am[bt]|am[bt]_[A-Za-z0-9_-]*)$/
/** A word is waited for to its end, up to this length: it may be the encoding of a value. */
const WORD_CHARS = 4_096

export interface Redactor {
  text(text: string): string
  /** Every text in a value of JSON, and every name. The same object where there is none. */
  value<T>(value: T): T
  has(text: string): boolean
  /** From here on a text may be the beginning of a value, if more follows. */
  opens(text: string): number
  /** Where values are: from, and up to before. In order, apart from each other. */
  spans(text: string): [number, number][]
}

type Pieces = Map<string, { needle: string; at: number }[]>

/** Values that begin alike, in order, and for each the longest other one that it begins with; -1: none. */
interface Alike {
  needles: string[]
  within: number[]
}

/** In time that grows with the text alone, however many values there are. */
export function createRedactor(values: Iterable<string>): Redactor {
  const whole = new Map<string, Alike>()
  const beginnings = new Set<string>()
  const pieces = new Map<number, Pieces>([
    [PIECE.encoded, new Map()],
    [PIECE.plain, new Map()],
  ])
  const known = new Set<string>()
  const shared = new Map<string, Edges>()
  // Whether any of them begins with two such characters: most places of a text are done with by this.
  const pairs = new Uint8Array(65_536)

  for (const value of new Set(values)) {
    if (value.length < LEAST_CHARS) continue
    for (const form of formsOf(value)) addPlain(form)
    for (const [form, edges] of encodingsOf(value)) addEncoded(form, edges)
  }
  for (const alike of whole.values()) settle(alike)

  function notePair(text: string, at: number): void {
    pairs[pairOf(text, at)] = 1
  }

  function addPlain(needle: string): void {
    if (needle.length > WHOLE_CHARS) addPieces(needle, PIECE.plain)
    else addWhole(needle)
  }

  function addWhole(needle: string): void {
    if (needle.length < LEAST_CHARS || known.has(needle)) return
    known.add(needle)
    notePair(needle, 0)
    const seed = needle.slice(0, SEED)
    const alike = whole.get(seed) ?? { needles: [], within: [] }
    whole.set(seed, alike)
    alike.needles.push(needle)
    for (let length = 1; length < SEED; length++) beginnings.add(needle.slice(0, length))
  }

  function addEncoded(needle: string, edges: Edges): void {
    const { before = false, after = false } = shared.get(needle) ?? {}
    shared.set(needle, { before: before || edges.before, after: after || edges.after })
    if (needle.length < PIECE.encoded + step(PIECE.encoded)) addPlain(needle)
    else addPieces(needle, PIECE.encoded)
  }

  /** Every so many characters: what is left of it after a break of the line has one of them. */
  function addPieces(needle: string, length: number): void {
    const map = pieces.get(length)
    if (map === undefined || known.has(needle)) return
    known.add(needle)
    const last = needle.length - length
    for (let at = 0; ; at = Math.min(at + step(length), last)) {
      const piece = needle.slice(at, at + length)
      notePair(piece, 0)
      const there = map.get(piece) ?? []
      // One that repeats itself has the same piece in very many places: a few tell as much.
      if (there.length < 4) map.set(piece, [...there, { needle, at }])
      if (at === last) break
    }
  }

  function spans(text: string): [number, number][] {
    const found: [number, number][] = []
    for (let at = 0; at + 1 < text.length; at++) {
      if (pairs[pairOf(text, at)] === 0) continue
      const alike = whole.get(text.slice(at, at + SEED))
      const end = alike === undefined ? at : at + longestAt(alike, text, at)
      if (end > at) found.push(withShared(text, [at, end], shared.get(text.slice(at, end))))
      for (const [length, map] of pieces) {
        const known = map.get(text.slice(at, at + length))
        if (known === undefined) continue
        let [from, to] = [at, at + length]
        for (const { needle, at: place } of known) {
          const begin = sameBefore(text, at, needle, place)
          const end = sameAfter(text, at + length, needle, place + length)
          const { before, after } = shared.get(needle) ?? NOT_SHARED
          const edges = { before: before && begin.isWhole, after: after && end.isWhole }
          const [first, last] = withShared(text, [begin.at, end.at], edges)
          from = Math.min(from, first)
          to = Math.max(to, last)
        }
        found.push([from, to])
        // What comes next is looked at from the last piece that could begin in it.
        at = Math.max(at, to - length)
      }
    }
    for (const { index, 0: credential } of text.matchAll(CREDENTIAL)) found.push([index, index + credential.length])
    return merged(found)
  }

  function opens(text: string): number {
    let from = text.length
    const credential = CREDENTIAL_BEGINS.exec(text.slice(-200))
    if (credential) from = text.length - credential[0].length
    if (known.size === 0) return from
    const word = /\S*$/.exec(text.slice(-WORD_CHARS))?.[0] ?? ''
    from = Math.min(from, text.length - word.length)
    for (let at = Math.max(0, text.length - WHOLE_CHARS); at < from; at++) {
      const rest = text.slice(at)
      const could = rest.length < SEED ? beginnings.has(rest) : hasWith(whole.get(rest.slice(0, SEED)), rest)
      if (could) return at
    }
    return from
  }

  const text = (given: string) => replaced(given, spans(given))

  function value<T>(given: T): T {
    if (typeof given === 'string') return text(given) as T
    if (typeof given !== 'object' || given === null) return given
    if (Array.isArray(given)) {
      const next = given.map(value)
      return next.every((each, index) => each === given[index]) ? given : (next as T)
    }
    const entries = Object.entries(given)
    const next = entries.map(([name, each]) => [text(name), value(each)] as const)
    const isSame = next.every(([name, each], index) => name === entries[index]?.[0] && each === entries[index]?.[1])
    return isSame ? given : (Object.fromEntries(next) as T)
  }

  return { text, value, spans, opens, has: (given) => spans(given).length > 0 }
}

function settle(alike: Alike): void {
  const { needles } = alike
  needles.sort((one, other) => (one < other ? -1 : 1))
  alike.within = needles.map(() => -1)
  const open: number[] = []
  for (const [index, needle] of needles.entries()) {
    while (open.length > 0 && !needle.startsWith(needles[open.at(-1) ?? -1] ?? '')) open.pop()
    alike.within[index] = open.at(-1) ?? -1
    open.push(index)
  }
}

/** How many of them come before the text, or are it. */
function rankOf({ needles }: Alike, text: string): number {
  let [low, high] = [0, needles.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((needles[middle] ?? '') <= text) low = middle + 1
    else high = middle
  }
  return low
}

/** Length of the longest that stands there, or 0. What the text begins with, so does the last one before it in their order. */
function longestAt(alike: Alike, text: string, at: number): number {
  const here = text.slice(at, at + WHOLE_CHARS)
  for (let index = rankOf(alike, here) - 1; index >= 0; index = alike.within[index] ?? -1) {
    const needle = alike.needles[index] ?? ''
    if (here.startsWith(needle)) return needle.length
  }
  return 0
}

/** Whether one of them begins with this, or is it. */
function hasWith(alike: Alike | undefined, text: string): boolean {
  if (alike === undefined) return false
  const rank = rankOf(alike, text)
  return alike.needles[rank - 1] === text || alike.needles[rank]?.startsWith(text) === true
}

/** A text without these parts of it. */
export function replaced(text: string, spans: readonly (readonly [number, number])[]): string {
  if (spans.length === 0) return text
  let result = ''
  let at = 0
  for (const [from, to] of spans) {
    result += text.slice(at, from) + REDACTED
    at = to
  }
  return result + text.slice(at)
}

const step = (length: number) => length / 4

const pairOf = (text: string, at: number): number =>
  (text.charCodeAt(at) * 31 + text.charCodeAt(at + 1) * 7_919) & 65_535

/** From where on the text is as the needle is before the place, over breaks of the line; and whether that is all of it. */
function sameBefore(text: string, at: number, needle: string, place: number): { at: number; isWhole: boolean } {
  let [begin, left] = [at, place]
  while (left > 0) {
    const before = text[begin - 1] === needle[left - 1] ? begin : beforeBreak(text, begin)
    if (before === 0 || text[before - 1] !== needle[left - 1]) break
    begin = before - 1
    left--
  }
  return { at: begin, isWhole: left === 0 }
}

/** As {@link sameBefore}: up to where. */
function sameAfter(text: string, at: number, needle: string, place: number): { at: number; isWhole: boolean } {
  let [end, next] = [at, place]
  while (next < needle.length) {
    const after = text[end] === needle[next] ? end : afterBreak(text, end)
    if (text[after] !== needle[next]) break
    end = after + 1
    next++
  }
  return { at: end, isWhole: next === needle.length }
}

function beforeBreak(text: string, at: number): number {
  if (text[at - 1] !== '\n') return at
  return text[at - 2] === '\r' ? at - 2 : at - 1
}

function afterBreak(text: string, at: number): number {
  if (text[at] === '\r' && text[at + 1] === '\n') return at + 2
  return text[at] === '\n' ? at + 1 : at
}

const LETTER = /^[\w+/-]$/

/** With the letters at its edges that have bits of the value as well, and what fills the last word up. */
function withShared(
  text: string,
  [from, to]: [number, number],
  { before, after }: Edges = NOT_SHARED,
): [number, number] {
  const first = before ? beforeBreak(text, from) - 1 : from
  const begin = LETTER.test(text[first] ?? '') ? first : from
  const last = after ? afterBreak(text, to) : to
  if (!after || !LETTER.test(text[last] ?? '')) return [begin, to]
  let end = last + 1
  while (end < last + 3 && text[end] === '=') end++
  return [begin, end]
}

function merged(spans: [number, number][]): [number, number][] {
  if (spans.length < 2) return spans
  const result: [number, number][] = []
  for (const [from, to] of spans.sort(([one], [other]) => one - other)) {
    const last = result.at(-1)
    // What touches is one: two pieces of one encoding.
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to)
    else result.push([from, to])
  }
  return result
}

/** As it is, and as it stands in JSON, in JSON within JSON, in a URL, in a form, and in a shell's word; by lines as well. */
function formsOf(value: string): Set<string> {
  const lines = value.includes('\n') ? value.split(/\r?\n/).map((line) => line.trim()) : []
  const forms = new Set<string>()
  for (const text of [value, value.trim(), ...lines.filter((line) => line.length >= LINE_CHARS)]) {
    const json = JSON.stringify(text).slice(1, -1)
    const url = encodeURIComponent(text.toWellFormed())
    const strict = url.replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
    forms.add(text).add(json).add(JSON.stringify(json).slice(1, -1)).add(json.replaceAll('/', '\\/')).add(ascii(json))
    for (const encoded of [url, strict]) {
      const small = encoded.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())
      forms.add(encoded).add(small).add(encoded.replaceAll('%20', '+')).add(small.replaceAll('%20', '+'))
    }
    forms.add(text.replaceAll("'", `'\\''`)).add(text.replaceAll("'", `'"'"'`))
    forms.add(text.replace(/[^\w@%+=:,./-]/g, '\\$&')).add(text.replace(/[\\"$`]/g, '\\$&'))
  }
  return forms
}

/** As Python's `json` writes it. */
const ascii = (json: string): string =>
  json.replace(/[\u0080-\uffff]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** Whether the letter of base64 next to it is made of bits of the value and of what stands beside the value. */
interface Edges {
  before: boolean
  after: boolean
}

const NOT_SHARED: Edges = { before: false, after: false }

/** In base64 whatever is before it, in base64url, and in hexadecimal; without letters that also depend on its neighbours. */
function encodingsOf(value: string): [string, Edges][] {
  const bytes = Buffer.from(value, 'utf8')
  const forms: [string, Edges][] = []
  for (const [before, skipped] of [
    [0, 0],
    [1, 2],
    [2, 3],
  ] as const) {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64')
    const bits = (before + bytes.length) * 8
    const own = text.slice(skipped, Math.floor(bits / 6))
    const edges = { before: before > 0, after: bits % 6 > 0 }
    forms.push([own, edges], [own.replaceAll('+', '-').replaceAll('/', '_'), edges])
  }
  const hex = bytes.toString('hex')
  forms.push([hex, NOT_SHARED], [hex.toUpperCase(), NOT_SHARED])
  return forms
}
