// Any program: it gets the prompt, prints lines, and its exit code says how it went.
import type { CommandAgent } from './agent.ts'

export const command: CommandAgent = { protocol: 'command', name: 'command', title: 'Command' }
