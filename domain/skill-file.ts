// What a SKILL.md says: a head of YAML between two lines of dashes, and the text for the agent.
import { parseDocument } from 'yaml'
import { SKILL_DESCRIPTION_CHARS, SKILL_NAME_CHARS } from './skill.ts'

export type SkillText =
  | { name: string; description: string; body: string; problem: null }
  /** It cannot be used; `name` and `description` as far as it has them. */
  | { name: string | null; description: string | null; body: string; problem: string }

const HEAD = /^\uFEFF?---[^\S\n]*\r?\n([\s\S]*?)(?:^|\r?\n)---[^\S\n]*(?:\r?\n|$)/

export function readSkillText(text: string): SkillText {
  const head = HEAD.exec(text)
  if (head === null)
    return {
      name: null,
      description: null,
      body: text.trim(),
      problem: 'it does not begin with a head between two lines of ---',
    }
  const body = text.slice(head[0].length).trim()
  // Whatever a stranger has written there: few aliases, no types of its own.
  const document = parseDocument(head[1] ?? '', { schema: 'core', prettyErrors: true })
  const [trouble] = document.errors
  if (trouble)
    return { name: null, description: null, body, problem: `its head is no YAML: ${trouble.message.split('\n')[0]}` }
  const { name, description } = fieldsOf(document.toJS({ maxAliasCount: 20 }))
  const problem = problemOf({ name, description, body })
  if (problem === null && name !== null && description !== null) return { name, description, body, problem }
  return { name, description, body, problem: problem ?? 'it has no name' }
}

function fieldsOf(head: unknown): { name: string | null; description: string | null } {
  const fields = typeof head === 'object' && head !== null ? (head as Record<string, unknown>) : {}
  const text = (value: unknown) => {
    if (typeof value !== 'string' && typeof value !== 'number') return null
    return String(value).replace(/\s+/g, ' ').trim() || null
  }
  return { name: text(fields.name), description: text(fields.description) }
}

function problemOf({ name, description, body }: { name: string | null; description: string | null; body: string }) {
  if (name === null) return 'its head has no name'
  if ([...name].length > SKILL_NAME_CHARS) return `its name has more than ${SKILL_NAME_CHARS} characters`
  if (!/^[\p{L}\p{N}][\p{L}\p{N} ._-]*$/u.test(name))
    return 'its name has other characters than letters, digits, spaces, dots and dashes'
  if (description === null) return 'its head has no description'
  if ([...description].length > SKILL_DESCRIPTION_CHARS)
    return `its description has more than ${SKILL_DESCRIPTION_CHARS} characters`
  if (body === '') return 'it has no text for the agent'
  return null
}
