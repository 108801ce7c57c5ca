// The `ambient` command: parses, calls, and turns every error into words and an exit code.
import { CommanderError } from 'commander'
import { CliError, exitCodes, type Problem } from './exit.ts'
import { buildProgram } from './program.ts'

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of a pipe (head, grep -q) has read enough.
  process.exit(error.code === 'EPIPE' ? exitCodes.succeeded : exitCodes.error)
})

const [args, rest] = splitAtDashes(process.argv.slice(2))
const asJson = args.includes('--json')

try {
  const program = buildProgram(rest, (code) => {
    process.exitCode = code
  })
  for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
    command.exitOverride()
    if (asJson) command.configureOutput({ outputError: () => undefined })
  }
  if (args.length === 0) program.outputHelp()
  else await program.parseAsync(args, { from: 'user' })
} catch (error) {
  process.exitCode = report(error)
}

function splitAtDashes(all: string[]): [string[], string[]] {
  const dashes = all.indexOf('--')
  return dashes < 0 ? [all, []] : [all.slice(0, dashes), all.slice(dashes + 1)]
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version are asked for; everything else is a wrong call, which commander has told already.
    if (error.exitCode === 0) return exitCodes.succeeded
    if (asJson) writeProblem({ title: error.message.replace(/^error: /, ''), error: 'usage' }, exitCodes.usage)
    return exitCodes.usage
  }
  if (error instanceof CliError) {
    if (asJson) writeProblem({ ...error.problem, ...(error.hint && { hint: error.hint }) }, error.exitCode)
    else process.stderr.write(`ambient: ${error.message}\n${error.hint ? `  ${error.hint}\n` : ''}`)
    return error.exitCode
  }
  const title = error instanceof Error ? error.message : String(error)
  if (asJson) writeProblem({ title, error: 'internal_error' }, exitCodes.error)
  // A settings error names what is wrong; of anything else the stack is what a bug report needs.
  else if (error instanceof Error && error.name === 'ConfigError') process.stderr.write(`ambient: ${title}\n`)
  else process.stderr.write(`ambient: ${error instanceof Error ? (error.stack ?? title) : title}\n`)
  return error instanceof Error && error.name === 'ConfigError' ? exitCodes.usage : exitCodes.error
}

function writeProblem(problem: Problem & { hint?: string }, exitCode: number): void {
  process.stderr.write(`${JSON.stringify({ retryable: false, ...problem, exit_code: exitCode })}\n`)
}
