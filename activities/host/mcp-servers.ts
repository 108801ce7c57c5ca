// Runs on the worker that holds the sandbox. The MCP servers of a run: what its agent is told of them, and whether they start.
import { join } from 'node:path'
import type { McpServer as AgentServer } from '@agentclientprotocol/sdk/unstable'
import { z } from 'zod'
import { newEvent } from '../../agents/acp/events.ts'
import { createRecorder } from '../../agents/acp/recorder.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import { logTail, RunFailureError } from '../../domain/failure.ts'
import { type ReadServer, readMcpJson } from '../../domain/mcp/mcp-json.ts'
import {
  expand,
  MCP_SERVERS_PATH,
  MCP_START_SECONDS,
  type McpServer,
  type McpServerOrder,
  typeOf,
} from '../../domain/mcp/server.ts'
import { TOOLS_SERVER } from '../../domain/tools.ts'
import { isErrno } from '../../environments/errno.ts'
import { repositoryPath } from '../../environments/git/repositories.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeHomeFiles } from '../../environments/inside-directory.ts'
import { readBounded } from '../../environments/job-directory.ts'
import { UntrustedFileError } from '../../environments/no-links.ts'
import { environmentOf } from './environment.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { MCP_PROGRAM, mcpProgram, TOOL_TOKEN } from './mcp-program.ts'

/** The file in which repositories name servers, and most of it that is read, in bytes. */
const MCP_JSON = '.mcp.json'
const MCP_JSON_BYTES = 1024 * 1024

interface RepositoryServers {
  servers: [name: string, server: McpServer][]
  /** What is wrong with them, for the transcript. */
  troubles: { name: string; reason: string }[]
}

/** What is in the sandbox for them before anybody asks for one. Nothing where the run has none. */
export async function placeMcpProgram({ order, state }: Execution, sandbox: Sandbox): Promise<void> {
  if (order.mcp_servers.length === 0 && !order.repository_mcp_servers) return
  await writeHomeFiles(state.paths, [{ path: MCP_PROGRAM, content: mcpProgram }], sandbox.owner)
}

/** All that an agent may be told of, our own first. */
export async function serverNames(execution: Execution): Promise<string[]> {
  const { servers } = await repositoryServers(execution)
  return [TOOLS_SERVER, ...execution.order.mcp_servers.map(({ name }) => name), ...servers.map(([name]) => name)]
}

/**
 * The servers that are `ready`, as the agent is told of them. Some agents wait
 * for minutes for one that says nothing, and do not open their session. Those of the run it reaches by way
 * of the gateway, or of a program that asks the gateway for their command: no
 * value of theirs is in it. `token`: what stands for the credential of the tools.
 */
export async function agentServers(
  execution: Execution,
  agent: AcpAgent,
  sandbox: Sandbox,
  token: string,
  ready: ReadonlySet<string>,
): Promise<AgentServer[]> {
  const { deps, ref, order } = execution
  const { home, node } = deps.host.paths(ref.runId, null)
  const ofRun = order.mcp_servers.map((server) =>
    agentServerOf(server, {
      url: urlOf(execution, sandbox, server.name),
      node,
      program: `${home}/${MCP_PROGRAM}`,
      token,
    }),
  )
  const { servers } = await repositoryServers(execution)
  const { env } = environmentOf(execution)
  // One that puts in the values of variables by itself has the same ones.
  const valued = (text: string) => (agent.quirks.toolTokenByName ? text : expand(text, (name) => env[name]).text)
  const pairs = (map: Record<string, string> = {}) =>
    Object.entries(map).map(([name, value]) => ({ name, value: valued(value) }))
  const ofRepository = servers.map(([name, server]): AgentServer => {
    const type = typeOf(server)
    if (type !== 'stdio') return { type, name, url: valued(server.url ?? ''), headers: pairs(server.headers) }
    return {
      name,
      command: valued(server.command ?? ''),
      args: (server.args ?? []).map(valued),
      env: pairs(server.env),
    }
  })
  return [...ofRun, ...ofRepository].filter(({ name }) => ready.has(name))
}

/** One of the run's own. `url`: at the gateway; `program`: {@link mcpProgram}, where the sandbox sees it. */
export function agentServerOf(
  { name, type }: Pick<McpServerOrder, 'name' | 'type'>,
  { url, node, program, token }: { url: string; node: string; program: string; token: string },
): AgentServer {
  if (type === 'http') return { type, name, url, headers: [{ name: 'Authorization', value: `Bearer ${token}` }] }
  const args = [program, type === 'sse' ? 'bridge' : 'run', url]
  return { name, command: node, args, env: [{ name: TOOL_TOKEN, value: token }] }
}

const urlOf = ({ deps }: Execution, sandbox: Sandbox, name: string) =>
  `${sandbox.gateway ?? deps.gatewayUrl}${MCP_SERVERS_PATH}/${name}`

/** What the repositories name, where the run lets that count. A server of the run itself goes before one of the same name. */
async function repositoryServers({ order, state }: Execution): Promise<RepositoryServers> {
  const found: RepositoryServers = { servers: [], troubles: [] }
  if (!order.repository_mcp_servers) return found
  const taken = new Set(order.mcp_servers.map(({ name }) => name))
  for (const repository of order.environment.repos) {
    const file = `${repositoryPath(repository)}/${MCP_JSON}`
    for (const { name, outcome } of await readFile(join(state.paths.workspace, file), file)) {
      if (taken.has(name)) continue
      taken.add(name)
      if (outcome.kind === 'server') found.servers.push([name, outcome.server])
      else found.troubles.push({ name, reason: `${file}: ${outcome.reason}.` })
    }
  }
  return found
}

/** It is a stranger's: it may be anything. */
async function readFile(path: string, shown: string): Promise<ReadServer[]> {
  const refused = (reason: string): ReadServer[] => [{ name: shown, outcome: { kind: 'refused', reason } }]
  try {
    const content = await readBounded(path, MCP_JSON_BYTES)
    if (content === null) return []
    if (content === 'too large') return refused('it is too large')
    return readMcpJson(content.toString('utf8'))
  } catch (error) {
    if (error instanceof UntrustedFileError) return refused('it is not a file of the repository')
    if (error instanceof SyntaxError) return refused(error.message)
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

/** A line that the program says of one server. */
const Checked = z.object({
  name: z.string(),
  ok: z.boolean(),
  tools: z.array(z.string()).optional(),
  reason: z.string().optional(),
  exit_code: z.number().int().optional(),
  log_tail: z.string().optional(),
  milliseconds: z.number().optional(),
})
type Checked = z.infer<typeof Checked>

/**
 * Starts or connects each server once, inside of the sandbox and beside the
 * agent that comes up, and tells in the transcript which tools it has, or why it
 * has none. Once for each sandbox, however often it is asked for. `given`: the
 * credential that the agent was started with, where that is known.
 * @returns the names of those that have started.
 * @throws {RunFailureError} mcp_server_failed, where one does not start that has to.
 */
export async function checkMcpServers(
  execution: Execution,
  sandbox: Sandbox,
  given: string | null,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const { deps, ref, order, transcript } = execution
  if (order.mcp_servers.length === 0 && !order.repository_mcp_servers) return new Set()
  const repository = await repositoryServers(execution)
  const servers = [
    ...order.mcp_servers.map((server) => ({ ...server, url: urlOf(execution, sandbox, server.name) })),
    ...repository.servers.map(([name, server]) => ({
      ...server,
      name,
      type: typeOf(server),
      start_seconds: MCP_START_SECONDS,
    })),
  ]
  const notes = transcript.notes(`mcp-${sandbox.generation}`)
  for (const { name, reason } of repository.troubles) await notes.add('mcp_server', { name, state: 'failed', reason })
  if (servers.length === 0) return new Set()
  const { home, node, workspace } = deps.host.paths(ref.runId, null)
  const token = given ?? (await deps.server.toolCredential(ref.runId, ref.execution, signal))
  const job = await sandbox.job({
    id: `mcp-check-${sandbox.generation}`,
    command: [node, `${home}/${MCP_PROGRAM}`, 'check'],
    env: { ...environmentOf(execution).env, [TOOL_TOKEN]: token ?? '' },
    cwd: workingDirectory(workspace, order),
    stdin: JSON.stringify({ servers }),
  })
  const recorder = createRecorder({
    journal: job.name,
    storedLine: await transcript.storedLine(job.name),
    record: transcript.record,
  })
  const told: Checked[] = []
  let stray = ''
  let last = 0
  const tell = (line: number, checked: Checked) => {
    told.push(checked)
    const data = eventOf(checked, servers.find(({ name }) => name === checked.name)?.type)
    recorder.add(line, [newEvent(line, 0, { kind: 'mcp_server', data })])
  }
  for await (const lines of job.read(0, AbortSignal.any([signal, recorder.failed]))) {
    for (const { line, text } of lines) {
      last = line
      const checked = parsed(text)
      if (checked === null) stray = `${stray}${text}\n`.slice(-4_000)
      else tell(line, checked)
    }
  }
  signal.throwIfAborted()
  // It was killed, or could not even begin.
  const exit = await job.exit()
  for (const { name } of servers.filter((server) => !told.some(({ name: known }) => known === server.name))) {
    last += 1
    const reason = `Its check ended with exit code ${exit?.code ?? 'unknown'}.`
    tell(last, { name, ok: false, reason, ...(stray === '' ? {} : { log_tail: logTail(stray) }) })
  }
  await recorder.flush()
  const required = order.mcp_servers.filter((server) => server.required).map(({ name }) => name)
  const failed = told.find(({ name, ok }) => !ok && required.includes(name))
  if (failed !== undefined) throw new RunFailureError(failureOf(failed))
  return new Set(told.filter(({ ok }) => ok).map(({ name }) => name))
}

function parsed(text: string): Checked | null {
  try {
    return Checked.parse(JSON.parse(text))
  } catch {
    return null // Not of the program's own.
  }
}

/** Names of tools are a stranger's words, and there may be many. */
const TOOLS_TOLD = 200
const TOOL_CHARS = 100

const eventOf = ({ ok, tools, ...checked }: Checked, type: McpServerOrder['type'] | undefined) => ({
  name: checked.name,
  ...(type && { type }),
  state: ok ? 'ready' : 'failed',
  ...(tools && {
    tools: tools.slice(0, TOOLS_TOLD).map((name) => name.slice(0, TOOL_CHARS)),
    tool_count: tools.length,
  }),
  ...(checked.reason !== undefined && { reason: checked.reason }),
  ...(checked.exit_code !== undefined && { exit_code: checked.exit_code }),
  ...(checked.log_tail !== undefined && { log_tail: checked.log_tail }),
  ...(checked.milliseconds !== undefined && { milliseconds: checked.milliseconds }),
})

const failureOf = ({ name, reason = '', exit_code: exitCode, log_tail: log }: Checked) => ({
  code: 'mcp_server_failed' as const,
  phase: 'agent_start' as const,
  message: `The MCP server ${name}, which the run requires, does not start: ${reason}`,
  ...(exitCode !== undefined && { exitCode }),
  ...(log !== undefined && { logTail: logTail(log) }),
  nextStep: 'Mend the server, or let runs go on without it: `required: false`.',
})
