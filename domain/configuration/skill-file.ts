// What a SKILL.md says: a head of YAML between two lines of dashes, and the text for the agent.
import { parseDocument } from 'yaml'
import { SKILL_DESCRIPTION_CHARS, SKILL_NAME_CHARS } from './skill.ts'

export type SkillText =
  | { name: string; description: string; body: string; problem: null }
  /** It cannot be used; `name` and `description` as far as it has them. */
  | { name: string | null; description: string | null; body: string; problem: string }

const HEAD = /^\uFEFF?---[^\S\n]*\r?\n([\s\S]*?)(?:^|\r?\n)---[^\S\n]*(?:\r?\n|$)/

/** Longer ones are not read: the time that YAML takes grows faster than its text. In characters. */
const HEAD_CHARS = 8 * 1024

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
  const [, yaml = ''] = head
  if (yaml.length > HEAD_CHARS)
    return { name: null, description: null, body, problem: `its head has more than ${HEAD_CHARS} characters` }
  const read = readHead(yaml)
  if (typeof read === 'string')
    return { name: null, description: null, body, problem: `its head is no YAML: ${read.split('\n')[0]}` }
  const { name, description } = read
  const problem = problemOf({ name, description, body })
  if (problem === null && name !== null && description !== null) return { name, description, body, problem }
  return { name, description, body, problem: problem ?? 'it has no name' }
}

/** What is for the agent, without the head. */
export const skillBody = (text: string): string => text.replace(HEAD, '').trim()

/** Its fields, or what is wrong with it. Whatever a stranger has written there: nothing in it is followed or evaluated. */
function readHead(text: string): { name: string | null; description: string | null } | string {
  try {
    // The places of errors are told by hand: of all of them, that may take long.
    const document = parseDocument(text, { schema: 'core', prettyErrors: false })
    const [trouble] = document.errors
    if (trouble) return `${trouble.message} (line ${text.slice(0, trouble.pos[0]).split('\n').length})`
    return { name: oneLine(document.get('name')), description: oneLine(document.get('description')) }
  } catch (error) {
    // Too deep to be read.
    return error instanceof Error ? error.message : String(error)
  }
}

function oneLine(value: unknown): string | null {
  if (typeof value !== 'string' && typeof value !== 'number') return null
  return String(value).replace(/\s+/g, ' ').trim() || null
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
