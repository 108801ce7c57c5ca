// Every agent there is. A new one is a file beside this one, a line here and its name in domain/harness.ts.
import type { AgentName } from '../domain/harness.ts'
import type { Agent } from './agent.ts'
import { claude } from './claude.ts'
import { codex } from './codex.ts'
import { command } from './command.ts'
import { gemini } from './gemini.ts'
import { opencode } from './opencode.ts'
import { qwen } from './qwen.ts'

export const agents: Readonly<Record<AgentName, Agent>> = { claude, codex, gemini, opencode, qwen, command }
