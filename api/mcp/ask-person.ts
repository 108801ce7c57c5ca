import type { z } from 'zod'
import type { AskPerson } from '../../domain/tools.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import { askOfTurn, insertAsk } from '../../store/runs/asks.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid } from '../errors.ts'
import { onceForRun } from './once.ts'

const END_TURN =
  'End your turn now, without further work: the answer, however late it comes, is the next message that you get.'

/** Notes a question. The run is BLOCKED by it once the turn has ended: until then the agent is at work. */
export const askPerson = (
  { db }: ApiDeps,
  holder: CredentialHolder,
  args: z.infer<typeof AskPerson>,
): Promise<string> =>
  onceForRun(db, holder, 'ask_person', args, async ({ tx, run, number, mailId, tell }) => {
    const { question, options = [] } = args
    const freeText = args.free_text ?? true
    if (options.length === 0 && !freeText) throw invalid('free_text: must not be false where there are no options')
    if (new Set(options).size < options.length) throw invalid('options: must differ from one another')
    if (mailId === null) throw new HttpError(409, 'conflict', 'The run has no message yet that you could ask about.')
    const asked = await askOfTurn(tx, run.id)
    if (asked !== null)
      throw new HttpError(409, 'conflict', `You have asked already: "${asked.title}". One question a turn. ${END_TURN}`)
    const ask = await insertAsk(tx, { runId: run.id, mailId, title: question, options, freeText, number })
    await tell('question', {
      question_id: ask.uid,
      title: question,
      options: ask.options.map(({ optionId, name, kind }) => ({ option_id: optionId, name, kind })),
      free_text: freeText,
    })
    return `Asked. ${END_TURN}`
  })
