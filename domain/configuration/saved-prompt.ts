// Saved prompts: tasks that are asked for again and again, with places for what differs.
import { z } from 'zod'
import { PROMPT_BYTES } from '../limits.ts'
import { nearest } from '../nearest.ts'
import { PageInfo } from '../page.ts'
import { invalid } from '../problem.ts'
import { boundedText, itemFields, ownerField, servedFields, versionField } from './shared-item.ts'

const ARGUMENT = '[A-Za-z_][A-Za-z0-9_-]*'

/** `{{name}}`; with a backslash before it, it stands for itself. */
const placeholder = new RegExp(`(\\\\?)\\{\\{\\s*(${ARGUMENT})\\s*\\}\\}`, 'g')

export const PromptArgument = z
  .object({
    name: z
      .string()
      .max(100)
      .regex(new RegExp(`^${ARGUMENT}$`), 'must be letters, digits, dashes or underscores, and begin with a letter'),
    description: boundedText(1_000).default(''),
    default: boundedText(PROMPT_BYTES)
      .nullish()
      .describe('What stands there where a run gives none. Absent: every run has to give one.'),
  })
  .meta({ id: 'PromptArgument' })
export type PromptArgument = z.infer<typeof PromptArgument>

const fields = {
  ...itemFields,
  text: boundedText(PROMPT_BYTES)
    .refine((text) => text.trim() !== '', { error: 'must not be empty' })
    .describe('The task. `{{name}}` is where an argument stands; `\\{{name}}` stands for itself.'),
  arguments: z
    .array(PromptArgument)
    .max(50)
    .default([])
    .superRefine((list, context) => {
      const twice = list.find(({ name }, at) => list.findIndex((other) => other.name === name) < at)
      if (twice) context.addIssue({ code: 'custom', message: `must not have ${twice.name} twice` })
    })
    .describe('Each has its place in the text.'),
}

/** Body of `POST /agent/prompts`. */
export const NewSavedPrompt = z.object({ ...fields, ...ownerField }).meta({ id: 'NewSavedPrompt' })

/** Body of `PUT /agent/prompts/{uid}`, which replaces everything. */
export const SavedPromptChange = z.object({ ...fields, ...versionField }).meta({ id: 'SavedPromptChange' })

export const SavedPrompt = z
  .object({
    ...servedFields,
    text: z.string(),
    arguments: z.array(
      z.object({
        name: z.string(),
        description: z.string(),
        default: z.string().nullable(),
        required: z.boolean(),
      }),
    ),
  })
  .meta({ id: 'SavedPrompt' })
export type SavedPrompt = z.infer<typeof SavedPrompt>

export const SavedPromptList = z
  .object({ prompts: z.array(SavedPrompt).describe('By name.'), page_info: PageInfo })
  .meta({ id: 'SavedPromptList' })

/** What is kept of one, beside its name. */
export interface PromptContent {
  description: string
  text: string
  arguments: PromptArgument[]
}

/** The arguments that a text has places for, each once. */
export const placesIn = (text: string): string[] => [
  ...new Set([...text.matchAll(placeholder)].flatMap(([, backslash, name]) => (backslash || !name ? [] : [name]))),
]

/** @throws {HttpError} 400 where text and arguments do not belong together. */
export function refuseUnpaired({ text, arguments: declared }: Pick<PromptContent, 'text' | 'arguments'>): void {
  const places = placesIn(text)
  const names = declared.map(({ name }) => name)
  const open = places.find((name) => !names.includes(name))
  if (open !== undefined)
    throw invalid(
      `text: has a place for {{${open}}}, and arguments has none of this name. Where the braces are meant, write \\{{${open}}}`,
    )
  const idle = names.find((name) => !places.includes(name))
  if (idle !== undefined) throw invalid(`arguments: has ${idle}, and the text has no {{${idle}}}`)
}

/**
 * The text with the arguments in their places: values are taken as they are.
 * @throws {HttpError} 400 that names what is missing, or not known.
 */
export function filledIn(
  { text, arguments: declared }: Pick<PromptContent, 'text' | 'arguments'>,
  given: Readonly<Record<string, string>>,
  path = 'saved_prompt.arguments',
): { text: string; arguments: Record<string, string> } {
  const names = declared.map(({ name }) => name)
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue
    const meant = nearest(name, names)
    const known = names.length === 0 ? 'it has none' : `there are ${names.join(', ')}`
    throw invalid(
      `${path}.${name}: is no argument of this prompt. ${meant === null ? `${known}.` : `Is ${meant} meant?`}`,
    )
  }
  const missing = declared.filter(({ name, default: fallback }) => given[name] === undefined && fallback == null)
  if (missing.length > 0)
    throw invalid(
      missing
        .map(({ name, description }) => `${path}.${name}: is required${description === '' ? '' : ` (${description})`}`)
        .join('; '),
    )
  const values = Object.fromEntries(
    declared.map(({ name, default: fallback }) => [name, given[name] ?? fallback ?? '']),
  )
  // Before it is made: a long value in very many places would be more than there is memory.
  const length = [...text.matchAll(placeholder)].reduce(
    (sum, [whole, backslash, name = '']) => sum + (backslash ? 0 : (values[name]?.length ?? 0) - whole.length),
    text.length,
  )
  if (length > PROMPT_BYTES) throw invalid(`saved_prompt: with its arguments, it is longer than ${PROMPT_BYTES} bytes`)
  const filled = text.replaceAll(placeholder, (whole, backslash: string, name: string) =>
    backslash ? whole.slice(1) : (values[name] ?? whole),
  )
  return { text: filled, arguments: values }
}
