// Makes what an agent said fit to be stored: Postgres's jsonb takes neither NUL nor lone surrogates, and an event has a largest size.
import { EVENT_TEXT_LIMIT } from '../../domain/event.ts'
import { isObject } from './messages.ts'

/** Texts up to this length are ids and titles: they stay whole and draw nothing from the event's limit. */
const SHORT = 1_000
/** What all short texts of one event may add up to, in characters; an agent can send millions of them in one line. */
const SHORT_TOTAL = 1024 * 1024
/** Deeper values are left out: walking them would end the stack. */
const DEPTH = 64

/** The data of an event as it can be stored. What was cut is counted in `truncated_chars`. */
export function storable(data: Record<string, unknown>): Record<string, unknown> {
  const budget = { long: EVENT_TEXT_LIMIT, short: SHORT_TOTAL, cut: 0 }
  const kept = walk(data, budget, 0) as Record<string, unknown>
  return budget.cut > 0 ? { ...kept, truncated_chars: budget.cut } : kept
}

export function storableText(text: string): string {
  return (text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text).toWellFormed()
}

interface Budget {
  long: number
  short: number
  cut: number
}

function walk(value: unknown, budget: Budget, depth: number): unknown {
  if (typeof value === 'string') return keep(value, budget)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= DEPTH || budget.short <= 0) {
    budget.cut += JSON.stringify(value).length
    return null
  }
  budget.short -= 8
  if (Array.isArray(value)) return value.map((item) => walk(item, budget, depth + 1))
  if (!isObject(value)) return null
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [storableText(key).slice(0, SHORT), walk(item, budget, depth + 1)]),
  )
}

function keep(text: string, budget: Budget): string {
  const kind = text.length <= SHORT ? 'short' : 'long'
  const room = Math.max(0, budget[kind])
  budget[kind] -= text.length
  if (text.length <= room) return storableText(text)
  budget.cut += text.length - room
  return storableText(text.slice(0, room))
}
