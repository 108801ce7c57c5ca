// The line to a container's first process, from before it is started: its gate starts programs without another round of the daemon's.
import type { Socket } from 'node:net'
import type Docker from 'dockerode'
import { FrameReader, STDOUT } from './frames.ts'

/** Of what is said, the latest characters are looked through; an answer is one short line. */
const LOOK_CHARS = 4_096

export interface FirstLine {
  /**
   * Says this to the gate, in one piece and after what was said before. @returns
   * what matches in its answer; null where none came in time: the container has
   * ended, or the daemon was started again, which cuts the line.
   */
  ask(text: string, answer: RegExp, withinMs: number): Promise<RegExpExecArray | null>
  /** Whether it leads anywhere yet. */
  isOpen(): boolean
  close(): void
}

/** @throws what the daemon says, when the container is not there. */
export async function openFirstLine(container: Docker.Container): Promise<FirstLine> {
  const socket = (await container.attach({ stream: true, stdin: true, stdout: true, hijack: true })) as Socket
  // It keeps no process from ending.
  socket.unref()
  const frames = new FrameReader(STDOUT)
  let said = ''
  let isOpen = true
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const look of waiting) look()
  }
  socket.on('data', (chunk: Buffer) => {
    said = (said + Buffer.concat(frames.push(chunk)).toString('latin1')).slice(-LOOK_CHARS)
    wake()
  })
  const cut = () => {
    isOpen = false
    wake()
  }
  for (const event of ['end', 'error', 'close']) socket.on(event, cut)
  return {
    ask(text, answer, withinMs) {
      const { promise, resolve } = Promise.withResolvers<RegExpExecArray | null>()
      const look = () => {
        const found = answer.exec(said)
        if (found !== null || !isOpen) resolve(found)
      }
      const late = setTimeout(() => resolve(null), withinMs)
      waiting.add(look)
      if (isOpen) socket.write(text)
      look()
      return promise.finally(() => {
        waiting.delete(look)
        clearTimeout(late)
      })
    },
    isOpen: () => isOpen,
    close() {
      socket.destroy()
    },
  }
}
