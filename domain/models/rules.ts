// Which models a team's runs may call.
import { z } from 'zod'

/** `*` stands for any number of characters; nothing else is special. */
const pattern = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((text) => !/[\p{Cc}\s]/u.test(text), { error: 'must be one word' })

const patterns = z.array(pattern).max(200)

/** `GET` and body of `PUT /agent/models/rules` */
export const ModelRules = z
  .object({
    allow: patterns.default([]).describe('Models that may be called, such as `claude-*`. Empty: all of them.'),
    deny: patterns.default([]).describe('Models that may not, whatever is allowed.'),
  })
  .meta({ id: 'ModelRules' })
export type ModelRules = z.infer<typeof ModelRules>

export const noRules: ModelRules = { allow: [], deny: [] }

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** As names of models are compared: neither case nor the provider's own `models/` before them matters. */
const plain = (text: string) => text.toLowerCase().replace(/^models\//, '')

export function matches(pattern: string, model: string): boolean {
  const source = plain(pattern).split('*').map(escaped).join('.*')
  return new RegExp(`^${source}$`, 's').test(plain(model))
}

/** A call that names no model is none that rules could allow. */
export function isAllowed({ allow, deny }: ModelRules, model: string | null): boolean {
  if (allow.length === 0 && deny.length === 0) return true
  if (model === null) return false
  if (deny.some((pattern) => matches(pattern, model))) return false
  return allow.length === 0 || allow.some((pattern) => matches(pattern, model))
}
