// What the daemon tells of a build: one JSON object a line, with pieces of the output in them.
import { z } from 'zod'
import { LineSplitter } from '../lines.ts'

/** One of the daemon's messages may be as long as what a program wrote at once. */
const MESSAGE_BYTES = 1024 * 1024
/** What a program writes without a line's end is cut there. */
const TEXT_CHARS = 64 * 1024

const Message = z.looseObject({
  stream: z.string().optional(),
  status: z.string().optional(),
  /** Of a layer that is being fetched: progress that overwrites itself. */
  id: z.string().optional(),
  error: z.string().optional(),
  errorDetail: z.looseObject({ code: z.number().optional() }).optional(),
})

export type BuildLine =
  | {
      kind: 'text'
      text: string
      /** The instruction that begins with this line. */
      step: string | null
      /** The container that it runs in. */
      container: string | null
      /** The image that the step has come to. */
      layer: string | null
    }
  | { kind: 'failed'; message: string; exitCode: number | null }

export async function* buildOutput(stream: AsyncIterable<unknown>): AsyncGenerator<BuildLine> {
  const messages = new LineSplitter(MESSAGE_BYTES)
  let text = ''
  for await (const chunk of stream) {
    for (const line of messages.push(Buffer.from(chunk as Uint8Array))) {
      const message = parsed(line.text)
      if (message === null) continue
      if (message.error !== undefined) {
        if (text.trim() !== '') yield textLine(text)
        yield { kind: 'failed', message: message.error, exitCode: message.errorDetail?.code ?? null }
        return
      }
      if (message.id === undefined && message.status !== undefined) yield textLine(message.status)
      text += message.stream ?? ''
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const whole of lines) yield textLine(whole)
      if (text.length > TEXT_CHARS) {
        yield textLine(text)
        text = ''
      }
    }
  }
  if (text.trim() !== '') yield textLine(text)
}

function parsed(line: string): z.infer<typeof Message> | null {
  if (line.trim() === '') return null
  try {
    return Message.parse(JSON.parse(line))
  } catch {
    // A message that was cut, or is of a kind that nobody knows, says nothing.
    return null
  }
}

function textLine(line: string): BuildLine {
  // A terminal would show what stands after the last return.
  const text = line.replace(/\r+$/, '').split('\r').at(-1) ?? ''
  return {
    kind: 'text',
    text,
    step: /^Step \d+\/\d+ : (.+)$/.exec(text)?.[1] ?? null,
    container: /^ ---> Running in ([0-9a-f]{12,64})$/.exec(text)?.[1] ?? null,
    layer: /^ ---> ([0-9a-f]{12,64})$/.exec(text)?.[1] ?? null,
  }
}
