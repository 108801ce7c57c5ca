// How figures are shown: one line each, with its target beside it.

export interface Figure {
  name: string
  value: number
  unit: string
  /** What the figure must not exceed, or must reach; null where it is shown as a baseline only. */
  target: number | { atLeast: number } | null
  note?: string
}

export const write = (line = '') => process.stdout.write(`${line}\n`)

export const heading = (text: string) => write(`\n${text}`)

export const format = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2))

export function print({ name, value, unit, target, note }: Figure): void {
  const verdict = target === null ? '' : `  target ${verdictOn(value, target, unit)}`
  write(`  ${name.padEnd(62)} ${format(value).padStart(9)} ${unit}${verdict}${note ? `  (${note})` : ''}`)
}

function verdictOn(value: number, target: number | { atLeast: number }, unit: string): string {
  const isFloor = typeof target === 'object'
  const limit = isFloor ? target.atLeast : target
  const isMet = isFloor ? value >= limit : value <= limit
  return `${format(limit)} ${unit}${isFloor ? ' or more' : ''}  ${isMet ? 'met' : 'MISSED'}`
}

/** Linear between the two values around it, so that the median of two is their middle. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  if (below === undefined || above === undefined) throw new RangeError('no values')
  return below + (above - below) * (at - Math.floor(at))
}

export const median = (values: readonly number[]) => quantile(values, 0.5)

/** How far a median is to be trusted: the number of samples, and the middle half of them. */
export const spread = (values: readonly number[]) =>
  `${values.length} samples, middle half ${format(quantile(values, 0.25))} to ${format(quantile(values, 0.75))}`
