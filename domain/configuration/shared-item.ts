// What agent profiles, rules and saved prompts have in common: a name, an owner, and versions that stay.
import { z } from 'zod'
import { Ownership, Profile, Uid } from '../account.ts'
import { cursor, PageInfo, pageLimit } from '../page.ts'

export const itemKinds = ['profile', 'rule', 'prompt'] as const
export type ItemKind = (typeof itemKinds)[number]

/** Items of a page, where the query does not say. */
export const ITEMS_LIMIT = 50

const bytes = (text: string) => new TextEncoder().encode(text).length

/** Text of at most so many bytes of UTF-8. */
export const boundedText = (max: number) =>
  z
    .string()
    .refine((value) => bytes(value) <= max, { error: `longer than ${max} bytes` })
    .refine((value) => !value.includes('\0'), { error: 'contains a NUL character' })

export const ItemName = z
  .string()
  .trim()
  .min(1)
  .max(200)
  .refine((value) => !/\p{Cc}/u.test(value), { error: 'must not have control characters' })

/** Of each body that makes or replaces one. */
export const itemFields = {
  name: ItemName.describe('One of its kind in the team has it; of personal ones, one of its owner.'),
  description: boundedText(10_000).default(''),
}

/** Of each body that makes one. */
export const ownerField = {
  team: z.boolean().nullish().describe('False: a personal one, for the runs of whoever makes it.'),
}

/** Of each body that replaces one. */
export const versionField = {
  version: z
    .number()
    .int()
    .min(1)
    .nullish()
    .describe('The one that was read: refused with 409 where it is another by now. Absent: whatever there is.'),
}

/** Of each one as it is served. */
export const servedFields = {
  uid: Uid,
  name: z.string(),
  description: z.string(),
  version: z.number().int().describe('Counts from 1 with each change. Runs name the one that they used.'),
  scope: Ownership.describe('`User`: a personal one, seen by its owner and the admins of the team alone.'),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime().describe('When this version was made.'),
  created_by: Profile,
  updated_by: Profile.describe('Who made this version.'),
}

/** Query of `GET …/{uid}`. */
export const VersionQuery = z.object({
  version: z.number().int().min(1).optional().describe('A former one. Absent: the newest.'),
})

/** Query of each list. */
export const ItemsQuery = z.object({ limit: pageLimit(ITEMS_LIMIT), cursor })

/** Query of `GET …/{uid}/versions`. */
export const VersionsQuery = z.object({ limit: pageLimit(ITEMS_LIMIT), cursor })

export const ItemVersions = z
  .object({
    versions: z
      .array(
        z.object({ version: z.number().int(), name: z.string(), created_at: z.iso.datetime(), created_by: Profile }),
      )
      .describe('The newest first.'),
    page_info: PageInfo,
  })
  .meta({ id: 'ItemVersions' })
export type ItemVersions = z.infer<typeof ItemVersions>
