// What options of several commands have in common.
import { type Command, InvalidArgumentError, Option } from 'commander'

const collect = (value: string, former: string[] = []) => [...former, value]

/** One that may be given several times. */
export const list = (flags: string, description: string) => new Option(flags, description).argParser(collect)

/** Takes away what options that may be given several times have said before. */
export const clear = (names: readonly string[]) =>
  new Option(
    '--clear <option>',
    `option of which it is to have nothing any more: ${names.join(', ')} (repeatable)`,
  ).argParser((name: string, former?: string[]) => {
    if (!names.includes(name)) throw new InvalidArgumentError(`One of ${names.join(', ')}.`)
    return collect(name, former)
  })

export const json = (what: string) => new Option('--json', what)

export const whole = (least: number, most: number) => (text: string) => {
  const value = Number(text)
  if (!/^-?\d+$/.test(text) || value < least || value > most) {
    throw new InvalidArgumentError(`A whole number from ${least} to ${most}.`)
  }
  return value
}

export const positive = (text: string) => {
  const value = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || value < 0.01) throw new InvalidArgumentError('A number, 0.01 or more.')
  return value
}

/** `none` takes away what is limited. */
export const orNone = (parse: (text: string) => number) => (text: string) => (text === 'none' ? null : parse(text))

export const permission = () =>
  new Option('-p, --permission <policy>', 'what happens when the agent wants to act').choices(['allow', 'ask', 'deny'])

/** What an argument that names a run may be. */
export const RUN = 'id of the run, or its first 4 characters or more'

/** What is done with a run once it is started: it is watched, and its work brought home. */
export const following = (command: Command): Command =>
  command
    .option('--follow', 'show the transcript as it comes, up to the end (default on a terminal)')
    .option('--no-follow', 'only start the run, and print its id')
    .option('-d, --detach', 'the same as --no-follow')
    .option(
      '-b, --branch [name]',
      'at the end, bring the result to the local repository as a branch (default name: `ambient/<id>`)',
    )
    .option('--into <path>', 'repository that --branch brings the result to')
    .option('--force', 'let --branch replace a branch that has other commits')
    .option('--patch [file]', 'at the end, write the changes to a file, or print them')
    .addOption(json('JSON lines: the run, each event, and the run as it ended'))
