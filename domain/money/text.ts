// Money as people read it.
import { MICRO } from './words.ts'

/** Small sums with as many places as they need to be seen. */
export const usdText = (usd: number): string => dollars(Math.round(usd * MICRO))

/** The same, of millionths of a dollar. */
export function dollars(micro: number): string {
  const usd = micro / MICRO
  const size = Math.abs(usd)
  const places = size >= 1 || size === 0 ? 2 : size >= 0.01 ? 3 : 6
  return `${micro < 0 ? '-' : ''}$${size.toFixed(places)}`
}
