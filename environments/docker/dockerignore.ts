// What a .dockerignore leaves out of a build's context, by the daemon's own rules.

export interface Ignored {
  /** Whether a path below the context is left out; the last pattern that fits it, or a directory above it, decides. */
  leavesOut(path: string): boolean
  /** Whether there are exceptions (`!`), so that something below a directory that is left out may be needed. */
  hasExceptions: boolean
}

export function parseDockerignore(text: string): Ignored {
  const patterns = text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '!')
    .map((line) => {
      const isException = line.startsWith('!')
      return { isException, fits: matcher(clean(isException ? line.slice(1).trim() : line)) }
    })
  return {
    hasExceptions: patterns.some(({ isException }) => isException),
    leavesOut(path) {
      const names = path.split('/')
      const above = names.map((_, index) => names.slice(0, index + 1).join('/'))
      const last = patterns.findLast(({ fits }) => above.some((one) => fits.test(one)))
      return last !== undefined && !last.isException
    },
  }
}

/** Without empty names, `.` and `..`. */
function clean(pattern: string): string {
  const names: string[] = []
  for (const name of pattern.split('/')) {
    if (name === '..') names.pop()
    else if (name !== '' && name !== '.') names.push(name)
  }
  return names.join('/')
}

function matcher(pattern: string): RegExp {
  let source = ''
  for (let at = 0; at < pattern.length; at += 1) {
    const rest = pattern.slice(at)
    const set = /^\[\^?[^\]]+\]/.exec(rest)?.[0]
    if (rest.startsWith('**/')) {
      source += '(?:.*/)?'
      at += 2
    } else if (rest.startsWith('**')) {
      source += '.*'
      at += 1
    } else if (rest.startsWith('*')) source += '[^/]*'
    else if (rest.startsWith('?')) source += '[^/]'
    else if (set !== undefined) {
      source += set
      at += set.length - 1
    } else if (rest.startsWith('\\') && rest.length > 1) {
      at += 1
      source += escaped(rest.charAt(1))
    } else source += escaped(rest.charAt(0))
  }
  try {
    return new RegExp(`^${source}$`, 's')
  } catch {
    // A set of characters that is none, such as [z-a], fits nothing.
    return /^(?!)/
  }
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
