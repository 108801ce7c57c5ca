// Whether what everybody holds of a run is what was planned, and the same. Pure: the evidence comes in.
import { isTerminal, type RunState, terminalTimeline } from '../domain/state.ts'
import type { Evidence, JournalEntry } from './evidence.ts'
import type { Kill, Target } from './kills.ts'
import type { Message, Plan } from './plan.ts'

export interface Difference {
  /** The plan's name, or `the machine`. */
  run: string
  runId: string | null
  what: string
  expected: unknown
  found: unknown
}

export interface Checked {
  differences: Difference[]
  figures: {
    events: number
    modelRequests: number
    /** Requests that broke off with the gateway, and that the agent therefore made again. */
    askedAgain: number
    /** Answers of people that reached the agent once more, which it passes over. */
    answersRepeated: number
    /** Cancelled runs whose work product was not collected, because their host was away. */
    uncollected: number
  }
}

/** Killing one of these breaks the model's streams, and the agent's own retry asks again. Nothing else may. */
const breaksStreams: readonly Target[] = ['gateway', 'all', 'machine']
/** A cancelled run waits only seconds for a host that is away, and ends without its work product. */
const takesHosts: readonly Target[] = ['host', 'all', 'machine']

export function check(plan: Plan, runId: string, evidence: Evidence, kills: readonly Kill[]): Checked {
  const differences: Difference[] = []
  const same = (what: string, expected: unknown, found: unknown) => {
    if (JSON.stringify(expected) !== JSON.stringify(found))
      differences.push({ run: plan.name, runId, what, expected, found })
  }
  const within = (what: string, [least, most]: readonly [number, number], found: number) => {
    if (found < least || found > most) same(what, least === most ? least : `${least} to ${most}`, found)
  }
  checkTranscript(evidence, same)
  checkEnds(plan, evidence, same, within)
  checkMessages(plan, evidence, same, within)
  const uncollected = isUncollected(evidence, kills)
  checkLedger(plan, evidence, uncollected, same)
  if (evidence.journal !== null) checkJournal(evidence.journal, evidence, same)
  const askedAgain = checkModel(plan, evidence, kills, same)
  return {
    differences,
    figures: {
      events: evidence.events.length,
      modelRequests: evidence.requests.length,
      askedAgain,
      answersRepeated: repeatedAnswers(evidence.journal ?? [], same),
      uncollected: uncollected ? 1 : 0,
    },
  }
}

type Same = (what: string, expected: unknown, found: unknown) => void
type Within = (what: string, bounds: readonly [number, number], found: number) => void

/** One sequence without holes, for every reader. */
function checkTranscript({ item, events, seen }: Evidence, same: Same): void {
  const sequences = events.map(({ sequence }) => sequence)
  const hole = sequences.findIndex((sequence, index) => sequence !== index + 1)
  same('sequence of the transcript', null, hole < 0 ? null : `${sequences[hole]} in place of ${hole + 1}`)
  same('last sequence of the run', events.length, item.last_event_sequence)
  same('events that the stream told', events.length, seen.length)
  const other = events.findIndex((event, index) => JSON.stringify(event) !== JSON.stringify(seen[index]))
  if (events.length === seen.length && other >= 0)
    same(`event ${other + 1} as the stream told it`, events[other], seen[other])
}

/** Each execution has one end, in the transcript and in the timeline. */
function checkEnds({ expected }: Plan, { item, events, timeline }: Evidence, same: Same, within: Within): void {
  within('executions', expected.executions, item.execution)
  const wanted = Array.from({ length: item.execution }, (_, index) => ({
    execution: index + 1,
    state: index + 1 === item.execution ? expected.ends : 'SUCCEEDED',
  }))
  const told = events
    .filter(({ kind, data }) => kind === 'state' && isTerminal(data.state as RunState))
    .map(({ execution, data }) => ({ execution, state: data.state }))
  same('ends in the transcript', wanted, told)
  const endings = Object.entries(terminalTimeline)
  const ended = timeline.flatMap(({ execution, event_type: type }) =>
    endings.flatMap(([state, name]) => (name === type ? [{ execution, state }] : [])),
  )
  same('ends in the timeline', wanted, ended)
  for (const once of ['oz_run_claimed', 'agent_started']) {
    const executions = timeline.filter(({ event_type: type }) => type === once).map(({ execution }) => execution)
    same(`${once} in the timeline, by execution`, [...new Set(executions)], executions)
  }
  same('state of the run', expected.ends, item.state)
  same('open questions', [], item.questions)
  same('running sandbox', false, item.is_sandbox_running)
}

/** Every message reached the agent once, and what it said to it is there once. */
function checkMessages(plan: Plan, { events, journal, requests }: Evidence, same: Same, within: Within): void {
  const prompts = events.filter(({ kind }) => kind === 'prompt').map(({ data }) => String(data.text))
  const heard = journal?.flatMap((entry) => (entry.what === 'prompt' ? [entry.text] : [])) ?? null
  const lines = events.filter(({ kind }) => kind === 'output').map(({ data }) => data.text)
  const said = events
    .filter(({ kind }) => kind === 'message')
    .map(({ data }) => String(data.text))
    .join('')
  for (const message of plan.messages) {
    const once = message.isBrokenOff ? ([0, 1] as const) : ([1, 1] as const)
    const count = (texts: readonly string[]) => texts.filter((text) => text.includes(message.text)).length
    within(`message ${message.id} in the transcript`, once, count(prompts))
    if (heard !== null) within(`message ${message.id} as the agent got it`, once, count(heard))
    for (const [index, text] of message.says.entries()) {
      // What the agent began to say before its stream broke, it has said.
      const times = requests.filter(({ messageId, step }) => messageId === message.id && step === index).length
      const most = Math.max(1, times)
      const found =
        plan.agent === 'command' ? lines.filter((line) => line === text).length : said.split(text).length - 1
      within(`"${text}" in the transcript`, [once[0], most], found)
    }
  }
  const asked = events.filter(({ kind }) => kind === 'question').map(({ data }) => data.question_id)
  within('questions', plan.expected.questions, asked.length)
  same('questions, each once', [...new Set(asked)], asked)
  const answered = events.filter(({ kind }) => kind === 'answer').map(({ data }) => data.question_id)
  same('answers, each once', [...new Set(answered)], answered)
  const troubles = events.filter(({ kind }) => kind === 'warning' || kind === 'error').map(({ data }) => data)
  same('warnings and errors in the transcript', [], troubles)
}

/** Commands ran once, and the work product tells of them. */
function checkLedger({ messages, expected }: Plan, { ledger, diff }: Evidence, uncollected: boolean, same: Same): void {
  if (!expected.setupEnds && ledger === null) return
  const left = [...(ledger ?? [])]
  const take = (lines: readonly string[], isBrokenOff: boolean) => {
    const fits = lines.findIndex((line, index) => left[index] !== line)
    const count = fits < 0 ? lines.length : fits
    const taken = left.splice(0, count)
    if (!isBrokenOff && count < lines.length) same('ledger', lines, [...taken, ...left.slice(0, 3)])
    return taken
  }
  take([expected.setup], !expected.setupEnds)
  const done = messages.flatMap((message) => take(message.ledger, message.isBrokenOff))
  same('lines of the ledger that nobody should have written', [], left)
  if (left.length === 0 && !uncollected)
    same(
      'lines of the ledger in the diff',
      done,
      diff.filter((line) => line !== expected.setup),
    )
}

function isUncollected({ item, events }: Evidence, kills: readonly Kill[]): boolean {
  const last = events.filter(({ execution }) => execution === item.execution)
  const wasAtWork = last.some(({ kind, data }) => kind === 'state' && data.state === 'INPROGRESS')
  if (item.state !== 'CANCELLED' || !wasAtWork || last.some(({ kind }) => kind === 'result')) return false
  const [before, end] = last.slice(-2).map(({ time }) => Date.parse(time))
  return hasKilled(kills, takesHosts, before ?? 0, end ?? 0)
}

const hasKilled = (kills: readonly Kill[], targets: readonly Target[], from: number, to: number): boolean =>
  kills.some((kill) => targets.includes(kill.target) && kill.to >= from && kill.from <= to)

/** The transcript holds all that the agent said; of a turn that was broken off, a beginning. */
function checkJournal(journal: readonly JournalEntry[], { events }: Evidence, same: Same): void {
  const told = events.flatMap(({ kind, data }) => {
    if (kind === 'message') return [`message ${data.text}`]
    if (kind === 'tool_call' || kind === 'tool_update') return [`${kind} ${data.toolCallId} ${data.status}`]
    return kind === 'turn_end' ? [`turn_end ${data.stop_reason}`] : []
  })
  let at = 0
  for (const { said, isWhole } of turnsIn(journal)) {
    let fits = 0
    while (fits < said.length && told[at + fits] === said[fits]) fits += 1
    if (isWhole && fits < said.length) same('the next of what the agent said', said[fits], told[at + fits] ?? null)
    at += fits
  }
  same('what the agent did not say', [], told.slice(at, at + 3))
}

function turnsIn(journal: readonly JournalEntry[]): { said: string[]; isWhole: boolean }[] {
  const turns: { said: string[]; isWhole: boolean }[] = []
  for (const entry of journal) {
    const turn = turns.at(-1)
    if (entry.what === 'prompt') turns.push({ said: [], isWhole: false })
    else if (entry.what === 'said') turn?.said.push(...saidIn(entry.update))
    else if (entry.what === 'end' && turn) {
      turn.said.push(`turn_end ${entry.stopReason}`)
      turn.isWhole = entry.stopReason === 'end_turn'
    }
  }
  return turns
}

function saidIn(update: Record<string, unknown>): string[] {
  const { sessionUpdate, toolCallId, status, content } = update
  if (sessionUpdate === 'agent_message_chunk') return [`message ${(content as { text: string }).text}`]
  if (sessionUpdate === 'tool_call') return [`tool_call ${toolCallId} ${status}`]
  return sessionUpdate === 'tool_call_update' ? [`tool_update ${toolCallId} ${status}`] : []
}

/** The model was asked for each step once, by an agent that knows what was said before. Returns how often it was asked again. */
function checkModel({ messages }: Plan, { requests, journal }: Evidence, kills: readonly Kill[], same: Same): number {
  let askedAgain = 0
  for (const message of messages) {
    const asked = requests.filter(({ messageId }) => messageId === message.id)
    const steps = asked
      .filter(({ step, at }, index) => {
        const former = asked[index - 1]
        const isAgain = former !== undefined && former.step === step && hasKilled(kills, breaksStreams, former.at, at)
        if (isAgain) askedAgain += 1
        return !isAgain
      })
      .map(({ step }) => step)
    const most = message.isBrokenOff ? Math.min(message.requests, steps.length) : message.requests
    same(`steps of ${message.id} that the model was asked for`, upTo(most), steps)
  }
  const last = requests.at(-1)
  const got = (message: Message) =>
    journal?.some((entry) => entry.what === 'prompt' && entry.text.includes(message.text)) ?? true
  const known = messages.filter(got).map(({ id }) => id)
  if (last !== undefined && journal !== null) same('messages that the model knows of', known, last.history)
  return askedAgain
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

/** The first answer to a question counts; another one to it must be the same. Returns how many others there were. */
function repeatedAnswers(journal: readonly JournalEntry[], same: Same): number {
  let answers = new Map<string | number, string | null>()
  let repeated = 0
  for (const entry of journal) {
    // Questions count from 0 in each process.
    if (entry.what === 'start') answers = new Map()
    if (entry.what !== 'answer') continue
    const first = answers.get(entry.id)
    if (first === undefined) answers.set(entry.id, entry.optionId)
    else {
      repeated += 1
      same(`a second answer to question ${entry.id}`, first, entry.optionId)
    }
  }
  return repeated
}
