// A budget as a bar.
import { usdText } from '../../domain/money/text.ts'

const WIDTH = 20

/** `▓▓▓▓▓░░░… $1.25 of $5.00 (25 %)` */
export function budgetBar({
  limit_usd: limit,
  spent_usd: spent,
  percent,
}: {
  limit_usd: number
  spent_usd: number
  percent: number
}): string {
  const filled = Math.min(WIDTH, Math.floor((percent / 100) * WIDTH))
  return `${'▓'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${usdText(spent)} of ${usdText(limit)} (${percent} %)`
}
