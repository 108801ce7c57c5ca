// Which images a Dockerfile begins with.

/**
 * The images that its stages are made from or copy from, other stages left out.
 * One whose name hangs on something that is not known here is left out as well:
 * the daemon fetches it by itself.
 */
export function baseImages(dockerfile: string, args: Readonly<Record<string, string>>): string[] {
  const known = new Map<string, string>()
  const stages = new Set<string>()
  const images = new Set<string>()
  let hasBegun = false
  for (const instruction of instructionsOf(dockerfile)) {
    const [word = '', ...rest] = instruction.split(/\s+/)
    const name = word.toUpperCase()
    if (name === 'ARG' && !hasBegun) {
      for (const declaration of rest) declare(known, declaration, args)
    } else if (name === 'FROM') {
      hasBegun = true
      const [image = '', as, stage] = rest.filter((part) => !part.startsWith('--'))
      add(substitute(image, known))
      if (as?.toUpperCase() === 'AS' && stage !== undefined) stages.add(stage.toLowerCase())
    } else if (name === 'COPY') {
      add(rest.find((part) => part.startsWith('--from='))?.slice('--from='.length) ?? null)
    }
  }
  return [...images]

  function add(image: string | null): void {
    const isStage = image !== null && (stages.has(image.toLowerCase()) || /^\d+$/.test(image))
    if (image !== null && !isStage && image !== 'scratch' && /^[\w./:@-]+$/.test(image)) images.add(image)
  }
}

/** Without comments, each on one line. */
function instructionsOf(dockerfile: string): string[] {
  const lines = dockerfile.split(/\r?\n/)
  const end = lines.find((line) => /^#\s*escape\s*=\s*`/i.test(line)) === undefined ? /\\\s*$/ : /`\s*$/
  const instructions: string[] = []
  let open = ''
  for (const line of lines) {
    if (/^\s*(#|$)/.test(line)) continue
    open += line.replace(end, ' ')
    if (end.test(line)) continue
    instructions.push(open.trim())
    open = ''
  }
  return open.trim() === '' ? instructions : [...instructions, open.trim()]
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
