// Where output goes: the terminal, with one line at its end that is overwritten, or a plain stream.
import { type Style, styleOf } from './render/style.ts'

export interface Screen {
  readonly style: Style
  /** True where a person can be asked. */
  readonly interactive: boolean
  write(text: string): void
  /** Shows what is going on right now, until the next output. Nothing where output is not a terminal. */
  status(line: string | null): void
  /** A remark beside the output proper, on stderr. */
  note(text: string): void
}

const ERASE_LINE = '\r\u001b[K'

export function createScreen(
  stdout: NodeJS.WriteStream = process.stdout,
  stderr: NodeJS.WriteStream = process.stderr,
  stdin: NodeJS.ReadStream = process.stdin,
): Screen {
  const style = styleOf(stdout)
  const noteStyle = styleOf(stderr)
  /** The line that is shown now and will be overwritten. */
  let shown: string | null = null
  let atLineStart = true

  function erase(): void {
    if (shown !== null) stdout.write(ERASE_LINE)
    shown = null
  }

  return {
    style,
    interactive: stdin.isTTY === true && stdout.isTTY === true,
    write(text) {
      if (text === '') return
      erase()
      stdout.write(text)
      atLineStart = text.endsWith('\n')
    },
    status(line) {
      if (line === shown) return
      erase()
      if (line === null || !stdout.isTTY || !atLineStart) return
      stdout.write(style.colours.dim(`… ${line}`))
      shown = line
    },
    note(text) {
      erase()
      if (!atLineStart && stdout.isTTY) stdout.write('\n')
      atLineStart = stdout.isTTY ? true : atLineStart
      stderr.write(`${noteStyle.colours.dim(text)}\n`)
    },
  }
}
