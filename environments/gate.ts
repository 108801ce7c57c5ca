// The small shell programs that stand before a program in a sandbox.
//
// A gate takes what it shall start from its stdin, so that environment and
// arguments appear neither in `docker inspect` nor in an image or on disk. It is
// written for any POSIX shell (dash, busybox, bash), reads byte by byte (the
// shell's `read` does), and gives the rest of its stdin to the program. It
// starts only on one whole line: what a dead writer left torn is nothing.
import type { ProgramSpec } from './host.ts'

/** The line that a gate says when the program begins; the program's own output is all that follows. */
export const STARTED = '{"ambient":"started"}'

/** What a gate answers to `hello <token>`: it waits, and nothing older is still on its way. */
export const readyLine = (token: string) => `{"ambient":"ready","token":"${token}"}`

/** A gate starts only under the token it was greeted with last, so that two writers cannot mix. */
export const helloLine = (token: string) => `hello ${token}\n`

/**
 * The one line that starts a program: words of a letter and an escaped value
 * (`c` working directory, `e` NAME=VALUE, `a` argument), closed by `end`.
 * @throws when the environment has a name that no shell can export.
 */
export function startLine(token: string, program: ProgramSpec): string {
  for (const name of Object.keys(program.env)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new TypeError(`not a name for an environment variable: ${name}`)
  }
  const words = [
    `c${octal(program.cwd)}`,
    ...Object.entries(program.env).map(([name, value]) => `e${octal(`${name}=${value}`)}`),
    ...program.command.map((argument) => `a${octal(argument)}`),
  ]
  return `start ${token} ${words.join(' ')} end\n`
}

/** For the shell's `printf %b`: every byte that is not plain becomes `\0` and three octal digits. */
function octal(value: string): string {
  if (value.includes('\0')) throw new TypeError('an argument or environment variable contains a NUL character')
  return Buffer.from(value, 'utf8')
    .toString('latin1')
    .replace(/[^A-Za-z0-9_./:=@%+,-]/g, (byte) => `\\0${byte.charCodeAt(0).toString(8).padStart(3, '0')}`)
}

/**
 * The one line by which an agent's gate starts a job beside itself: what
 * {@link startLine} says to a job's own gate, and the job's directory.
 */
export const jobLine = (token: string, directory: string, program: ProgramSpec): string =>
  `job ${directory} ${startLine(token, program)}`

/** What a job's gate answers, by the token that it was started under; `refused`: it could not be started from there. */
export const jobAnswer = (token: string): RegExp => new RegExp(`\\b(started|taken|refused) ${token}\n`)

// Waits for a whole start line; leaves the program in "$@" and its directory in
// _ambient_cwd. Its variables are named so that no environment collides with
// them. The x keeps trailing newlines, which $() would cut.
const takeProgram = (others = '') => `
set -f
_ambient_token=
while IFS= read -r _ambient_line || { _ambient_line=; false; }; do
  case $_ambient_line in
    'hello '*)
      _ambient_token=\${_ambient_line#hello }
      printf '{"ambient":"ready","token":"%s"}\\n' "$_ambient_token" ;;
    "start $_ambient_token "*' end')
      [ -n "$_ambient_token" ] && break ;;${others}
  esac
done
[ -n "$_ambient_line" ] || exit 70
set -- $_ambient_line
_ambient_line=
shift 2
_ambient_count=$#
while [ "$_ambient_count" -gt 0 ]; do
  _ambient_word=$1
  shift
  _ambient_count=$((_ambient_count - 1))
  _ambient_value=$(printf '%bx' "\${_ambient_word#?}")
  case $_ambient_word in
    end) ;;
    c*) _ambient_cwd=\${_ambient_value%x} ;;
    e*) export "\${_ambient_value%x}" ;;
    a*) set -- "$@" "\${_ambient_value%x}" ;;
  esac
done
unset _ambient_word _ambient_value _ambient_count
`

// Gives the program its place. That there is none is said without the shell's own name and line before it; of one that
// is there and cannot be started, the shell knows why. Without single quotes, for it also stands between them.
const BEGIN = `command -v "$1" >/dev/null || [ -e "$1" ] || { printf "%s: there is no such program here\\n" "$1" >&2; exit 127; }; exec "$@"`

// A job has a session of its own, or its signals would be the gate's as well; and it is not put into the background by
// the shell, which would have it ignore an interrupt. What stands for setsid in small images cannot do both. Its own
// gate's words come before anything that is said here afterwards: what an agent says is told from them by that.
const START_JOB = `
    'job '*' end')
      _ambient_line=\${_ambient_line#job }
      _ambient_said=$(printf 'hello %s\\n%s\\n' "$_ambient_token" "\${_ambient_line#* }" |
        setsid -f /bin/sh -c "$_ambient_job_gate" ambient "\${_ambient_line%% *}" 2>/dev/null) ||
        _ambient_said="refused $_ambient_token"
      printf '%s\\n' "$_ambient_said" ;;`

/**
 * A container's main process until the agent takes its place, with the same
 * stdin and stdout. $1 is {@link JOB_GATE}.
 */
export const AGENT_GATE = `_ambient_job_gate=$1
${takeProgram(START_JOB)}
printf '%s\\n' '${STARTED}'
cd -- "$_ambient_cwd" || exit 126
${BEGIN}
`

// How often the kernel killed for memory in this container, by either version of cgroups.
const OOM_KILLS = `
_ambient_kills() {
  while read -r _ambient_key _ambient_number; do
    [ "$_ambient_key" = oom_kill ] && echo "$_ambient_number" && return
  done 2>/dev/null <"$1" || echo 0
}
_ambient_events=/sys/fs/cgroup/memory.events
[ -r "$_ambient_events" ] || _ambient_events=/sys/fs/cgroup/memory/memory.oom_control
`

/**
 * Runs one job in a container, at most once: of two gates for one job only one
 * makes the file \`started\`. $1 is the job's directory.
 */
export const JOB_GATE = `_ambient_job=$1
${takeProgram()}
${OOM_KILLS}
(set -C; printf '%s\\n' "$_ambient_token" >"$_ambient_job/own/started") 2>/dev/null || { echo "taken $_ambient_token"; exit 0; }
echo "started $_ambient_token"
exec >>"$_ambient_job/output" 2>&1 <"$_ambient_job/stdin"
_ambient_before=$(_ambient_kills "$_ambient_events")
# What a program tells its whole group is for the program: the gate stays to write its exit code.
trap : HUP INT TERM
export AMBIENT_JOB_FILES="$_ambient_job/own"
exec 3>&2 2>/dev/null
(exec 2>&3 3>&-; cd -- "$_ambient_cwd" || exit 126; ${BEGIN})
_ambient_code=$?
_ambient_memory=
[ "$_ambient_code" = 137 ] && [ "$(_ambient_kills "$_ambient_events")" != "$_ambient_before" ] && _ambient_memory=' oom'
printf '%s\\n' "$_ambient_code$_ambient_memory" >"$_ambient_job/own/exit"
`

/**
 * The program's own variables on their way through {@link PROCESS_GATE}: under
 * names that mean nothing to a shell or a linker, which may be outside of the
 * sandbox and root's.
 */
export const wrapped = (env: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).map(([name, value], index) => [`AMBIENT_ENV_${index}`, `${name}=${value}`]))

const UNWRAP = `_ambient_n=0
while eval "[ -n \\"\\\${AMBIENT_ENV_$_ambient_n+x}\\" ]"; do
  eval "export \\"\\$AMBIENT_ENV_$_ambient_n\\""
  unset "AMBIENT_ENV_$_ambient_n"
  _ambient_n=$((_ambient_n + 1))
done
unset _ambient_n`

/**
 * Runs a program on the bare machine, at most once, and leaves its exit code in
 * a file. $1 is the directory of \`started\` and \`exit\`, $2 the working
 * directory, $3 words that enter the sandbox (or empty), $4 a process that ends
 * with the program (or empty), $5 that process's start time. Its environment is
 * {@link wrapped}. Its descriptor 3 is closed once `started` is there.
 */
export const PROCESS_GATE = `
_ambient_own=$1 _ambient_cwd=$2 _ambient_enter=$3 _ambient_ends=$4 _ambient_ends_since=$5
shift 5
# A SIGTERM is for the program; the gate stays to write its exit code.
trap : TERM
_ambient_since() { set -f; read -r _ambient_stat <"/proc/$1/stat" || return; set -- $_ambient_stat; shift 21; echo "$1"; }
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ambient_mine _ <"/proc/$$/stat"
set -C
{ printf '%s %s\\n' "$$" "$_ambient_mine" >"$_ambient_own/started"; } 2>/dev/null || exit 0
set +C
# The shell has a word of its own about a program that was killed, which is not the program's output. What 3 was is
# closed by this: whoever has started the gate waits for it.
exec 3>&2 2>/dev/null
(set -f; exec 2>&3 3>&-; exec $_ambient_enter /bin/sh -c 'cd -- "$1" || exit 126; shift
${UNWRAP}
${BEGIN}' sh "$_ambient_cwd" "$@")
_ambient_code=$?
if [ -n "$_ambient_ends" ] && [ "$(_ambient_since "$_ambient_ends")" = "$_ambient_ends_since" ]; then
  kill -9 "$_ambient_ends"
fi
printf '%s\\n' "$_ambient_code" >"$_ambient_own/exit"
`
