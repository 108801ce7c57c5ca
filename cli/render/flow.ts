// Wraps text at words while it streams in, chunk by chunk.
import { clean, columns } from './text.ts'

export interface Flow {
  /** What can be shown of the text so far; an unfinished word is held back until it is known whether it fits. */
  push(chunk: string): string
  /** The rest. The text may still lack a newline at its end: see {@link Flow.atLineStart}. */
  end(): string
  readonly atLineStart: boolean
}

/** Without a width (not a terminal), text passes as it is. Code blocks and tables are never wrapped. */
export function createFlow(width: number | null, paint: (text: string) => string = (text) => text): Flow {
  let column = 0
  let held = ''
  let gap = ''
  let hang = ''
  let fenced = false
  let verbatim = false

  function newline(): string {
    column = 0
    gap = ''
    hang = ''
    verbatim = fenced
    return '\n'
  }

  function blank(text: string): string {
    if (column > hang.length && !verbatim) {
      gap += text
      return ''
    }
    column += columns(text)
    if (!verbatim) hang += text
    return text
  }

  function word(text: string): string {
    const startsLine = column === hang.length && gap === ''
    if (startsLine && text.startsWith('```')) {
      fenced = !fenced
      verbatim = true
    }
    if (startsLine && text.startsWith('|')) verbatim = true
    let out = gap + text
    if (!verbatim && width !== null && column > hang.length && column + columns(out) > width) {
      column = hang.length
      out = `\n${hang}${text}`
      column += columns(text)
    } else {
      column += columns(out)
    }
    gap = ''
    if (startsLine && /^([-*+•]|\d+[.)])$/.test(text)) hang = ' '.repeat(column)
    return out
  }

  function tokens(text: string): string {
    let out = ''
    for (const token of text.match(/\n|[ \t]+|[^\s]+|\s/g) ?? []) {
      if (token === '\n') out += newline()
      else if (token.trim() === '') out += blank(token)
      else out += word(token)
    }
    return out
  }

  const painted = (text: string) =>
    text
      .split(/(\n)/)
      .map((part) => (part === '\n' || part === '' ? part : paint(part)))
      .join('')

  return {
    push(chunk) {
      const text = held + clean(chunk)
      const unfinished = width === null ? 0 : (/\S+$/.exec(text)?.[0].length ?? 0)
      // A "word" longer than a line (or a script without spaces) is not waited for.
      const hold = unfinished > (width ?? 0) ? 0 : unfinished
      held = text.slice(text.length - hold)
      return painted(tokens(text.slice(0, text.length - hold)))
    },
    end() {
      const rest = held
      held = ''
      return painted(tokens(rest))
    },
    get atLineStart() {
      return column === 0 && held === ''
    },
  }
}
