// What options of several commands have in common.
import { InvalidArgumentError, Option } from 'commander'

const collect = (value: string, former: string[] = []) => [...former, value]

/** One that may be given several times. */
export const list = (flags: string, description: string) => new Option(flags, description).argParser(collect)

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

/** What an argument that names a run may be. */
export const RUN = 'id of the run, or its first 4 characters or more'
