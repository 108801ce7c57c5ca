// The vault as operators see it.
import { z } from 'zod'

const KeyName = z.string().describe('Follows from the key itself.')

export const VaultState = z
  .object({
    source: z.string().describe('Where the keys come from.'),
    trouble: z.string().nullable().describe('Why there is no key, and what to do. Null: there is one.'),
    keys: z.array(KeyName).describe('Those of this server. The first one seals, all of them open.'),
    sealed: z
      .array(z.object({ key: KeyName, values: z.number().int(), is_here: z.boolean() }))
      .describe('How many values are sealed under which key. A key that is not among them may go.'),
    plain: z.number().int().describe('Values that were stored before there was a vault, and are still plain text.'),
  })
  .meta({ id: 'VaultState' })
export type VaultState = z.infer<typeof VaultState>

/** What is sealed under keys that are not here, in a sentence; null: nothing. */
export function lockedWords({ sealed, source }: Pick<VaultState, 'sealed' | 'source'>): string | null {
  const locked = sealed.filter(({ is_here: isHere }) => !isHere)
  if (locked.length === 0) return null
  const count = locked.reduce((sum, { values }) => sum + values, 0)
  const keys = locked.map(({ key, values }) => `${key} (${values})`).join(', ')
  const [what, are] = count === 1 ? ['1 stored value', 'it is'] : [`${count} stored values`, 'they are']
  return `${what} cannot be opened with the keys given: ${are} sealed under ${keys}. Add the missing key to ${source}, as it was when they were stored.`
}

/** Body of `POST /agent/vault/rotate`. */
export const RotateVault = z
  .object({
    new_key: z
      .boolean()
      .default(false)
      .describe(
        'Make a new key first. Only where the keys are a file of the server; else it is added to them by hand.',
      ),
  })
  .meta({ id: 'RotateVault' })

export const VaultRotation = VaultState.extend({
  rewrapped: z.number().int().describe('Values that were brought under the newest key.'),
}).meta({ id: 'VaultRotation' })
export type VaultRotation = z.infer<typeof VaultRotation>
