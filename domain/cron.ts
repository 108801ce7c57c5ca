// Cron expressions of five fields, as crontab(5) has them, and time zones.
import { Cron, CronPattern } from 'croner'

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC']
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']
const MONTH = 3
const DAY_OF_MONTH = 2
const DAY_OF_WEEK = 4

const fieldsOf = (text: string): string[] => text.trim().split(/\s+/)

/** What is wrong with a cron expression, in words for people; null where it is right. */
export function cronTrouble(text: string): string | null {
  const fields = fieldsOf(text)
  if (fields.length !== 5) return 'must have five fields: minute, hour, day of the month, month, day of the week'
  for (const [at, field] of fields.entries()) {
    const names = at === MONTH ? MONTHS : at === DAY_OF_WEEK ? DAYS : []
    const words = field.match(/[^\d*,/-]+/g) ?? []
    const strange = words.find((word) => !names.includes(word.toUpperCase()))
    if (strange !== undefined)
      return `has "${strange}" in its field ${at + 1}; there may be numbers, "*", ",", "-", "/", and the names of months and days, such as JAN and MON`
  }
  try {
    new CronPattern(text, 'UTC', { mode: '5-part' })
  } catch (error) {
    return `is not a cron expression: ${error instanceof Error ? error.message.replace(/^CronPattern: /, '') : String(error)}`
  }
  const next = new Cron(text, { mode: '5-part', timezone: 'UTC', paused: true }).nextRun()
  return next === null ? 'names no day that ever comes' : null
}

/**
 * The expressions whose times together are those of this one. Where both days
 * are given either of them will do, as crontab(5) has it; Temporal wants both.
 */
export function cronExpressions(text: string): string[] {
  const fields = fieldsOf(text)
  const isFree = (at: number) => fields[at]?.startsWith('*') ?? true
  if (isFree(DAY_OF_MONTH) || isFree(DAY_OF_WEEK)) return [fields.join(' ')]
  return [fields.with(DAY_OF_WEEK, '*').join(' '), fields.with(DAY_OF_MONTH, '*').join(' ')]
}

/** The name under which a time zone is known everywhere, also where its newer one is not; null where there is none. */
export function canonicalTimeZone(name: string): string | null {
  // Known without Intl's tables, which each process that only starts with the default would wait for.
  if (name === 'UTC') return name
  // An offset such as +02:00 is one for Intl, and for Temporal it is not.
  if (!/^[A-Za-z]/.test(name)) return null
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone
  } catch {
    return null // Intl throws a RangeError for what it does not know.
  }
}
