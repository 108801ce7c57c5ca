// How figures are shown: one line each, with its target beside it.

export interface Figure {
  name: string
  value: number
  unit: string
  /** What the figure must not exceed; null where it is shown as a baseline only. */
  target: number | null
  note?: string
}

const format = (value: number) => (value >= 100 ? value.toFixed(0) : value.toFixed(2))

export function print(figure: Figure): void {
  const { name, value, unit, target, note } = figure
  const verdict = target === null ? '' : `  target ${format(target)} ${unit}  ${value <= target ? 'met' : 'MISSED'}`
  process.stdout.write(
    `${name.padEnd(62)} ${format(value).padStart(9)} ${unit}${verdict}${note ? `  (${note})` : ''}\n`,
  )
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]
  if (value === undefined) throw new RangeError('no values')
  return value
}

export const median = (values: readonly number[]) => quantile(values, 0.5)
