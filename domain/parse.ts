// What comes in is checked against its schema.
import type { z } from 'zod'
import { issueWords } from './issue-words.ts'
import { invalid } from './problem.ts'

/** The value as the schema has it. Every field that does not fit is named in the answer. */
export function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value, { reportInput: true })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) =>
    issue.path.length === 0
      ? wholeWords(issueWords(issue))
      : `${issue.path.map(String).join('.')}: ${issueWords(issue)}`,
  )
  throw invalid(problems.slice(0, 10).join('; '))
}

/** Of the value itself; a schema's own words need nothing before them. */
const wholeWords = (words: string) => (/^(must|is|has) /.test(words) ? `The body ${words}` : words)
