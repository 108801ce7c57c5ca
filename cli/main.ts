// The `ambient` command: parses, calls, and turns every error into words and an exit code.
import { type Command, CommanderError } from 'commander'
import { CliError, exitCodes, type Problem } from './exit.ts'
import { buildProgram, serverCommands } from './program.ts'

const [args, rest] = splitAtDashes(process.argv.slice(2))
const asJson = args.includes('--json')
const isServer = serverCommands.includes(args[0] ?? '')

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // A server has more to do than to talk: what looks after others must not end because nobody listens any more.
    if (isServer) return
    // The reader of a pipe (head, grep -q) has read enough.
    process.exit(error.code === 'EPIPE' ? exitCodes.succeeded : exitCodes.error)
  })
}

try {
  const program = buildProgram(rest, (code) => {
    process.exitCode = code
  })
  for (const command of withAllBelow(program)) {
    command.exitOverride()
    // All that goes wrong is said in the same voice.
    const outputError = asJson
      ? () => undefined
      : (text: string, write: (text: string) => void) => write(text.replace(/^error: /, 'ambient: '))
    command.configureOutput({ outputError })
  }
  if (args.length === 0) program.outputHelp()
  else await program.parseAsync(args, { from: 'user' })
} catch (error) {
  process.exitCode = report(error)
  // What a part had begun (connections, timers) would keep it from ending, and from being started again.
  if (isServer) process.exit()
}

function withAllBelow(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withAllBelow)]
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
