// What reading a transcript costs when it is long, beside a short one of the same Ambient.
import type { RunItem } from '../domain/run.ts'
import type { Stack } from '../test/support/stack.ts'
import { startAmbient } from './ambient.ts'
import { heading, median, print, spread } from './report.ts'
import { startCommand } from './run-lines.ts'

const SHORT = 100
const LONG = 100_000
/** A page as people ask for it; the short transcript is one page. */
const PAGE = 50
const SAMPLES = 40
/** Of the medians. A few milliseconds on a shared machine are never measured alike twice. */
const TARGET_RATIO = 1.5

/** In milliseconds. */
type Read = (run: RunItem) => Promise<number>

export async function measureTranscript(cleanUp: AsyncDisposableStack): Promise<void> {
  const stack = await startAmbient('direct', cleanUp)
  const { item: short } = await talk(stack, SHORT)
  const { item: long, seconds } = await talk(stack, LONG)

  heading(`Reading a transcript of ${LONG} events, beside one of ${SHORT}`)
  print({
    name: 'baseline: the long one, as its agent writes it',
    value: LONG / seconds,
    unit: 'events/s',
    target: null,
  })
  for (const [name, read] of readings(stack)) {
    const times = { short: [] as number[], long: [] as number[] }
    // In turn, so that a neighbour slows both; the first round warms up.
    for (let round = 0; round <= SAMPLES; round++) {
      const [ofShort, ofLong] = [await read(short), await read(long)]
      if (round > 0) {
        times.short.push(ofShort)
        times.long.push(ofLong)
      }
    }
    const note = spread(times.long)
    print({ name: `baseline: ${name}, ${SHORT} events`, value: median(times.short), unit: 'ms', target: null })
    print({ name: `${name}, ${LONG} events`, value: median(times.long), unit: 'ms', target: null, note })
    print({ name: `${name}: ratio`, value: median(times.long) / median(times.short), unit: '×', target: TARGET_RATIO })
  }
}

/** A run whose agent says so many lines, through to its end. */
async function talk(stack: Stack, lines: number): Promise<{ item: RunItem; seconds: number }> {
  const words = 'what a build has to say, and it says a lot'
  const began = performance.now()
  const runId = await startCommand(stack, ['seq', '-f', `line %.0f of ${words}`, String(lines)])
  for (;;) {
    const item = await stack.item(runId)
    if (item.state === 'SUCCEEDED' && item.last_event_sequence > lines)
      return { item, seconds: (performance.now() - began) / 1000 }
    if (item.failure) throw new Error(`the run failed: ${JSON.stringify(item.failure)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function readings({ url, key }: Stack): [name: string, read: Read][] {
  const authorization = `Bearer ${key}`
  const timed = async (path: string, headers: Record<string, string> = {}) => {
    const began = performance.now()
    const response = await fetch(`${url}/api/v1/agent${path}`, { headers: { authorization, ...headers } })
    await response.text()
    if (!response.ok) throw new Error(`${path}: ${response.status}`)
    return performance.now() - began
  }
  const page = (run: RunItem, after: number, more = '') =>
    timed(`/runs/${run.run_id}/events?after=${Math.floor(after)}&limit=${PAGE}${more}`)
  return [
    ['the first page', (run) => page(run, 0)],
    ['a page in the middle', (run) => page(run, (run.last_event_sequence - PAGE) / 2)],
    ['the last page', (run) => page(run, run.last_event_sequence - PAGE)],
    ['the changes of state', (run) => page(run, 0, '&kind=state')],
    [
      'a stream that is taken up near its end',
      (run) =>
        timed(`/runs/${run.run_id}/events`, {
          accept: 'text/event-stream',
          'last-event-id': String(run.last_event_sequence - PAGE),
        }),
    ],
    ['the run', (run) => timed(`/runs/${run.run_id}`)],
    ['its place in the list', (run) => timed(`/runs?q=${run.run_id}`)],
  ]
}
