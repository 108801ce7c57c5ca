// What an agent asks of its tools before it uses one, by the Model Context Protocol: the same for every run.
import { z } from 'zod'
import { version } from '../../config.ts'
import { TOOLS_SERVER, tools } from '../../domain/tools.ts'

/** Newest first. A client that speaks another one is offered the first. */
const PROTOCOLS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']

const INSTRUCTIONS =
  'Tools of Ambient, the system that runs you in the background. Nobody watches you work: hand over results with report_artifact, and ask with ask_person what only a person can decide.'

export const ToolMessage = z.looseObject({
  jsonrpc: z.literal('2.0'),
  id: z.union([z.string(), z.number()]).nullish(),
  method: z.string().optional(),
  params: z.record(z.string(), z.unknown()).optional(),
})
export type ToolMessage = z.infer<typeof ToolMessage>

/** As `tools/list` has them. */
export const toolList = Object.entries(tools).map(([name, { description, input }]) => {
  const { $schema: _, ...inputSchema } = z.toJSONSchema(input, { io: 'input' })
  return { name, description, inputSchema }
})

/** Answers and notifications want no answer. */
export const wantsNone = ({ id, method }: ToolMessage): boolean => method === undefined || id == null

/** The result of a message that is no use of a tool; null for any other. */
export function handshakeResult({ method, params = {} }: ToolMessage): object | null {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: PROTOCOLS.find((protocol) => protocol === params.protocolVersion) ?? PROTOCOLS[0],
        capabilities: { tools: {} },
        serverInfo: { name: TOOLS_SERVER, version },
        instructions: INSTRUCTIONS,
      }
    case 'ping':
      return {}
    case 'tools/list':
      return { tools: toolList }
    default:
      return null
  }
}
