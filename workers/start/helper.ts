// Work that is done once, in a process of its own: what it loads is gone again when it has ended.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

const Message = z.union([z.object({ say: z.string() }), z.object({ result: z.unknown() })])

export interface HelperOptions {
  env: Readonly<Record<string, string | undefined>>
  say: (line: string) => void
  signal: AbortSignal
}

/** Runs a script of this folder that ends with {@link helperResult}. @throws with what it wrote to stderr. */
export async function runHelper(script: string, args: string[], options: HelperOptions): Promise<unknown> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], {
    env: { ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: options.signal,
  })
  const closed = once(child, 'close')
  closed.catch(() => {}) // Not started, or called off: told below.
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4_000)
  })
  let result: unknown
  for await (const line of createInterface(child.stdout)) {
    const message = Message.parse(JSON.parse(line))
    if ('say' in message) options.say(message.say)
    else result = message.result
  }
  const [code] = await closed
  if (code !== 0) throw new Error(errors.trim() || `${script} ended with ${code}`)
  return result
}

const write = (message: z.infer<typeof Message>) => process.stdout.write(`${JSON.stringify(message)}\n`)

/** Used in a helper: tells the person. */
export const helperSay = (say: string): void => void write({ say })

/** Used in a helper, once, at its end. */
export const helperResult = (result: unknown): void => void write({ result: result ?? null })

/** Used in a helper: its work, with an error told in one line. */
export async function helperMain(work: () => Promise<unknown>): Promise<void> {
  try {
    helperResult((await work()) ?? null)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
    process.exitCode = 1
  }
}
