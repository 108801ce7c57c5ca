// The demo model: plays the model where no key is set, so that a first run works on a machine that has none.
import { setTimeout as delay } from 'node:timers/promises'
import { auxiliaryAnswer } from './wire/auxiliary.ts'
import type { ModelRequest } from './wire/request.ts'
import { type Exchange, type RunningServer, serveModel } from './wire/server.ts'
import type { ModelAnswer, ToolCall } from './wire/step.ts'
import { quoted, shellCall } from './wire/tools.ts'

/** The file that the demo adds to the repository. */
export const demoFile = 'AMBIENT_DEMO.md'

/** Long enough to be seen arriving, short enough that nobody waits: a whole demo takes a few seconds. */
const WORD_MS = 15

/**
 * Starts the demo model on 127.0.0.1; without a port, on a free one. Any agent can be pointed at it: the url is
 * the base for Anthropic's and Gemini's formats, and with `/v1` for OpenAI's. It keeps no state.
 */
export function startDemoModel({ port = 0 }: { port?: number } = {}): Promise<RunningServer> {
  return serveModel(({ request, signal }: Exchange) => {
    const { text, calls } = request.isAuxiliary ? { text: 'A scripted demo', calls: [] } : nextStep(request)
    const usage = { inputTokens: tokens(JSON.stringify(request.conversation)), outputTokens: tokens(text) }
    if (request.isAuxiliary) return auxiliaryAnswer(request, text, usage)
    return { thought: '', text: words(text, signal), calls, usage }
  }, port)
}

type Step = { text: string; calls: ModelAnswer['calls'] }

/** How far the conversation is shows in its number of tool results since the prompt. */
function nextStep(request: ModelRequest): Step {
  const { tools, toolResults } = request
  const [looked, wrote] = toolResults.map((result) => result.output)

  if (isFollowUp(request)) return say(followUp(request.prompt))
  if (looked === undefined) {
    const call = shellCall(tools, look, 'Look at the workspace')
    return call ? { text: introduction, calls: [call] } : say(withoutTools)
  }
  if (wrote === undefined) {
    const call = shellCall(tools, writeDown(request.prompt), `Write ${demoFile}`)
    return call
      ? { text: `I have looked around. Now I add a small file, ${demoFile}.`, calls: [call] }
      : say(summary(''))
  }
  return say(summary(wrote))
}

const say = (text: string, calls: readonly ToolCall[] = []): Step => ({ text, calls })

function isFollowUp({ conversation }: ModelRequest): boolean {
  const first = conversation.findIndex((entry) => entry.role === 'user')
  const last = conversation.findLastIndex((entry) => entry.role === 'user')
  return conversation.slice(first, last).some((entry) => entry.role === 'assistant')
}

const introduction =
  'Hello. I am the demo model of Ambient: no model key is set, so I follow a fixed script instead of thinking. ' +
  'The agent around me, its tools and your repository are real. First I look at the workspace.'

const withoutTools =
  'Hello. I am the demo model of Ambient: no model key is set, so I follow a fixed script instead of thinking. ' +
  'This agent offers me no tool that runs a command, so I leave it at these words. ' +
  'Set a model key and start the task again to have it done.'

/** Printed by the command below once the file is there, so that the summary can tell. */
const written = `${demoFile} is written`

function summary(output: string): string {
  const change = output.includes(written)
    ? `I looked at the workspace and wrote ${demoFile}, which names your task.`
    : `I looked at the workspace. I could not write ${demoFile}: the command was refused or it failed.`
  return (
    `${change}\n\nThis was a scripted demo: no model key is set, and no model has worked on your task. ` +
    'Set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY and start it again to have it done.'
  )
}

function followUp(prompt: string): string {
  return (
    `I got your message: “${oneLine(prompt)}”. I am still the demo model and follow a script, ` +
    'so all I can do is show that a follow-up reaches the same conversation. Set a model key to have it done.'
  )
}

// The commands use nothing that an agent's own check of commands might mistake, such as substitutions.
const look = 'pwd && ls -A && git --no-pager log --oneline -n 5 2>/dev/null || true'

/** Writes into the first repository of the workspace, where the change becomes part of the run's result. */
function writeDown(prompt: string): string {
  const lines = ['# A demo of Ambient', '', `The task was: ${oneLine(prompt)}`, '', 'A script wrote this, not a model.']
  return [
    'for place in . */; do if [ -e "$place/.git" ]; then cd "$place"; break; fi; done',
    `printf '%s\\n' ${lines.map(quoted).join(' ')} > ${demoFile} && echo ${quoted(written)}`,
  ].join('\n')
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim().toWellFormed()
  return line.length > 200 ? `${line.slice(0, 199).toWellFormed()}…` : line
}

/** About four characters make a token. */
const tokens = (text: string) => Math.ceil(text.length / 4)

async function* words(text: string, signal: AbortSignal): AsyncGenerator<string> {
  for (const word of text.match(/\s*\S+/g) ?? []) {
    yield word
    await delay(WORD_MS, undefined, { signal })
  }
}
