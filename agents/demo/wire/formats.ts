// Every wire format there is.
import { anthropic } from './anthropic.ts'
import { chat } from './chat.ts'
import type { WireFormat } from './format.ts'
import { gemini } from './gemini.ts'
import { responses } from './responses.ts'

export const formats: readonly WireFormat[] = [chat, responses, anthropic, gemini]
