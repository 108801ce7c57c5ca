// What a Dockerfile asks of the daemon itself, beside what its steps do in their containers.

export interface Dockerfile {
  instructions: readonly string[]
  /** The same for the daemon: one instruction a line, so that it reads no other ones than are known here. */
  text: string
}

/** Takes comments out and continued lines together, as the daemon does. Lines keep their numbers. */
export function readDockerfile(written: string): Dockerfile {
  const lines = written.replace(/^\uFEFF/, '').split(/\r?\n/)
  const mark = escapeOf(lines)
  // Twice in a row it stands for itself.
  const end = mark === '`' ? /(^|[^`])`[ \t]*$/ : /(^|[^\\])\\[ \t]*$/
  /** None goes on in the next line, whatever stood after its mark. */
  const closed = (instruction: string): string =>
    end.test(instruction.trim()) ? closed(instruction.trim().replace(end, '$1')) : instruction.trim()
  const text: string[] = []
  let open: { at: number; instruction: string } | null = null
  for (const [at, line] of lines.entries()) {
    text.push('')
    if (/^\s*(#|$)/.test(line)) continue
    open ??= { at, instruction: '' }
    open.instruction += line.replace(end, '$1')
    if (end.test(line) && at < lines.length - 1) continue
    text[open.at] = closed(open.instruction)
    open = null
  }
  if (open !== null) text[open.at] = closed(open.instruction)
  const instructions = text.filter((line) => line !== '')
  if (mark === '`') text[0] = '# escape=`'
  return { instructions, text: `${text.join('\n')}\n` }
}

/** It may be said before anything else, among other directives. */
function escapeOf(lines: readonly string[]): string {
  for (const line of lines) {
    const [, name, value] = /^#\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (name === undefined) break
    if (name.toLowerCase() === 'escape') return value === '`' ? '`' : '\\'
  }
  return '\\'
}

/** The first instruction that fetches from the web, or may: the daemon does that by itself, on the machine's own network. */
export function remoteAdd(instructions: readonly string[]): string | null {
  return instructions.find(mayFetch) ?? null
}

function mayFetch(instruction: string): boolean {
  const [, word = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(instruction) ?? []
  if (/^onbuild$/i.test(word)) return mayFetch(rest)
  if (!/^add$/i.test(word)) return false
  const plain = rest.replace(/^(--\S+\s+)+/, '')
  const list = plain.startsWith('[') ? listOf(plain) : plain.split(/\s+/)
  // The last one is where it is put. A list that cannot be read may be read by the daemon.
  return list === null || list.slice(0, -1).some(mayBeUrl)
}

function listOf(json: string): string[] | null {
  try {
    const list: unknown = JSON.parse(json)
    return Array.isArray(list) && list.every((one) => typeof one === 'string') ? list : null
  } catch {
    return null
  }
}

/** As far as is known before its variables are put in. */
function mayBeUrl(source: string): boolean {
  const plain = source.replace(/["'`\\]/g, '').toLowerCase()
  const known = plain.replace(/\$.*$/s, '')
  return ['http://', 'https://'].some(
    (scheme) => plain.startsWith(scheme) || (known !== plain && scheme.startsWith(known)),
  )
}

export interface BaseImages {
  /** That its stages are made from or copy from, other stages left out. */
  images: string[]
  /** What a stage is made from, and hangs on something that is not known here. */
  unknown: string[]
}

export function baseImages(instructions: readonly string[], args: Readonly<Record<string, string>>): BaseImages {
  const known = new Map<string, string>()
  const stages = new Set<string>()
  const images = new Set<string>()
  const unknown: string[] = []
  let hasBegun = false
  for (const instruction of instructions) {
    const [word = '', ...rest] = instruction.split(/\s+/)
    const name = word.toUpperCase()
    if (name === 'ARG' && !hasBegun) {
      for (const declaration of rest) declare(known, declaration, args)
    } else if (name === 'FROM') {
      hasBegun = true
      const parts = rest.filter((part) => !part.startsWith('--'))
      const [image = '', as, stage] = parts
      if (![1, 3].includes(parts.length) || !add(substitute(image, known))) unknown.push(parts.join(' '))
      if (as?.toUpperCase() === 'AS' && stage !== undefined) stages.add(stage.toLowerCase())
    } else if (name === 'COPY') {
      add(rest.find((part) => part.startsWith('--from='))?.slice('--from='.length) ?? null)
    }
  }
  return { images: [...images], unknown }

  function add(image: string | null): boolean {
    if (image === null) return false
    if (stages.has(image.toLowerCase()) || /^\d+$/.test(image) || image === 'scratch') return true
    if (!/^[\w./:@-]+$/.test(image)) return false
    images.add(image)
    return true
  }
}

function declare(known: Map<string, string>, declaration: string, args: Readonly<Record<string, string>>): void {
  const [, name = '', value] = /^(\w+)(?:=(.*))?$/.exec(declaration) ?? []
  const given = Object.hasOwn(args, name) ? args[name] : value?.replace(/^(["'])(.*)\1$/, '$2')
  const full = given === undefined ? null : substitute(given, known)
  if (name !== '' && full !== null) known.set(name, full)
}

/** Null where a variable is not known. */
function substitute(text: string, known: ReadonlyMap<string, string>): string | null {
  let isKnown = true
  const full = text.replace(/\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})/g, (_, plain, braced, instead) => {
    const value = known.get(plain ?? braced) || instead
    isKnown &&= value !== undefined
    return value ?? ''
  })
  return isKnown && !full.includes('$') ? full : null
}
