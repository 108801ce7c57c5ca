// Asks the person at the terminal what the agent wants to know.
import { createInterface } from 'node:readline'
import { type Question, questionText } from './render/question.ts'
import { visible } from './render/text.ts'
import type { Screen } from './screen.ts'

/** The option that a typed text means: its number, its id or name, or a word for yes or no; null when none is meant. */
export function optionOf(question: Question, typed: string): string | null {
  const text = typed.trim().toLowerCase()
  const byNumber = /^\d+$/.test(text) ? question.options[Number(text) - 1] : undefined
  const option =
    byNumber ??
    question.options.find(({ option_id, name }) => [option_id, name].some((word) => word.toLowerCase() === text))
  if (option) return option.option_id
  if (['allow', 'yes', 'y'].includes(text)) return 'allow'
  return ['deny', 'no', 'n', 'reject'].includes(text) ? 'deny' : null
}

/** An option, or words where the question takes them. */
export type GivenAnswer = { option_id: string } | { text: string }

/** What a typed text answers; null where it answers nothing. */
export function answerTo(question: Question, typed: string): GivenAnswer | null {
  if (!question.free_text) {
    const option = optionOf(question, typed)
    return option === null ? null : { option_id: option }
  }
  const option = optionOf(question, typed)
  if (option !== null && question.options.some(({ option_id: id }) => id === option)) return { option_id: option }
  return typed.trim() === '' ? null : { text: typed.trim() }
}

/**
 * Asks until an option is chosen. Null when the signal aborts (someone else
 * answered) or the input ends.
 */
export async function ask(
  screen: Screen,
  question: Question,
  {
    withTitle,
    signal,
    onInterrupt,
  }: {
    /** Left out where the transcript has just shown it. */
    withTitle: boolean
    signal: AbortSignal
    onInterrupt: () => void
  },
): Promise<GivenAnswer | null> {
  const options = question.options.map((option, index) => `  ${index + 1}) ${visible(option.name)}\n`).join('')
  const title = withTitle ? `\n${questionText(question, screen.style).join('\n')}\n` : ''
  screen.write(title + options)
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  terminal.on('SIGINT', onInterrupt)
  try {
    for (;;) {
      const typed = await new Promise<string | null>((resolve) => {
        const give = () => resolve(null)
        if (signal.aborted) return give()
        signal.addEventListener('abort', give, { once: true })
        terminal.once('close', give)
        terminal.question(`Answer${hintOf(question)}: `, resolve)
      })
      if (typed === null) return null
      const answer = answerTo(question, typed)
      if (answer !== null) return answer
      screen.write('None of the answers.\n')
    }
  } finally {
    terminal.close()
  }
}

function hintOf({ options, free_text: takesWords }: Question): string {
  if (!takesWords)
    return options.some(({ kind }) => kind === 'answer')
      ? ` (1–${options.length})`
      : ` (1–${options.length}, allow or deny)`
  return options.length === 0 ? '' : ` (1–${options.length}, or in words)`
}
