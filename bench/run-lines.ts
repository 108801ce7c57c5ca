// What a command agent prints, as the reader of its run's event stream gets it.
import { createParser } from 'eventsource-parser'
import type { RunEvent } from '../domain/event.ts'
import type { Stack } from '../test/support/stack.ts'

/** Starts the command as a run. */
export function startCommand(stack: Stack, command: readonly string[]): Promise<string> {
  return stack.start({ prompt: 'Begin.', config: { harness: { type: 'command', command }, idle_timeout_minutes: 0 } })
}

/** Until the run ends. @throws when it ends with a failure. */
export async function* linesOfRun(stack: Stack, runId: string): AsyncGenerator<string> {
  const response = await fetch(`${stack.url}/api/v1/agent/runs/${runId}/events`, {
    headers: { authorization: `Bearer ${stack.key}`, accept: 'text/event-stream' },
  })
  let events: RunEvent[] = []
  const parser = createParser({
    onEvent: ({ id, data }) => {
      if (id !== undefined) events.push(JSON.parse(data) as RunEvent)
    },
  })
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    parser.feed(decoder.decode(chunk, { stream: true }))
    const come = events
    events = []
    for (const { kind, data } of come) {
      if (kind === 'output') yield String(data.text)
      if (kind === 'state' && data.failure) throw new Error(`the run failed: ${JSON.stringify(data)}`)
    }
  }
}
