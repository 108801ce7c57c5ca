// What stands between an agent and the MCP servers that are started, or spoken to in the older protocol, in the sandbox.
import { MCP_ENDPOINT_HEADER } from '../../domain/mcp/server.ts'

/** Below the agent's home. */
export const MCP_PROGRAM = '.ambient/mcp-servers.mjs'

/** The variable that has the credential of the tools, in the sandbox. */
export const TOOL_TOKEN = 'AMBIENT_MCP_TOKEN'

/**
 * `run <url>`: starts a server's command, which the gateway tells with its
 * values: they are in the memory of that process alone, and in no argument, no
 * file, and not in what the agent is told.
 *
 * `bridge <url>`: speaks on stdin and stdout for a server of the older protocol,
 * whose answers come in an event stream of its own. Not every agent knows it.
 *
 * `check`: what stdin names is started or connected, asked for its tools, and
 * ended; a line of JSON says what came of each.
 */
export const mcpProgram = `import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { text as readAll } from 'node:stream/consumers'

const token = process.env.${TOOL_TOKEN} ?? ''
const self = process.argv[1]
const TAIL = 2000

class Trouble extends Error {
  constructor(message, more) {
    super(message)
    this.more = more
  }
}

const ask = (url, init = {}) =>
  fetch(url, { redirect: 'manual', ...init, headers: { authorization: 'Bearer ' + token, ...init.headers } }).catch((error) => {
    if (init.signal?.aborted) throw init.signal.reason
    throw new Trouble('The gateway cannot be reached: ' + (error.cause?.message || error.cause?.code || error.message))
  })

/** What an answer that is none says. */
async function refusalOf(answer) {
  const text = (await answer.text()).slice(0, TAIL)
  try {
    const { error } = JSON.parse(text)
    if (typeof error?.message === 'string') return error.message
  } catch {}
  return 'It answers ' + answer.status + (text.trim() === '' ? '.' : ': ' + text.trim().slice(0, 300))
}

async function commandOf(url, signal) {
  const answer = await ask(url + '/command', { signal })
  if (!answer.ok) throw new Trouble(await refusalOf(answer))
  return await answer.json()
}

function environment(own) {
  const { ${TOOL_TOKEN}: _, ...rest } = process.env
  return { ...rest, ...own }
}

async function run(url) {
  const { command, args, env } = await commandOf(url)
  const child = spawn(command, args, { stdio: 'inherit', env: environment(env) })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(command + ' cannot be started: ' + error.message)
    process.exit(127)
  })
  child.on('exit', (code, signal) => process.exit(signal === null ? code : 1))
}

/** Events of a stream, each with its name and data. */
async function* eventsOf(body) {
  let event = 'message'
  let data = []
  for await (const line of linesOf(body)) {
    if (line === '') {
      if (data.length > 0) yield { event, data: data.join('\\n') }
      event = 'message'
      data = []
    } else if (line.startsWith('event:')) event = line.slice(6).trim()
    else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
  }
}

async function* linesOf(body) {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of body) {
    rest += decoder.decode(part, { stream: true })
    const lines = rest.split(/\\r\\n|\\n|\\r(?!$)/)
    rest = lines.pop()
    yield* lines
  }
}

async function bridge(url) {
  const stream = await ask(url, { headers: { accept: 'text/event-stream' } })
  if (!stream.ok || stream.body === null) throw new Trouble(await refusalOf(stream))
  let name
  const endpoint = new Promise((resolve) => (name = resolve))
  const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n')
  const send = async (line) => {
    const { id, method } = JSON.parse(line)
    try {
      const headers = { 'content-type': 'application/json', '${MCP_ENDPOINT_HEADER}': await endpoint }
      const answer = await ask(url, { method: 'POST', headers, body: line })
      if (!answer.ok) throw new Trouble(await refusalOf(answer))
      await answer.arrayBuffer()
    } catch (error) {
      if (id !== undefined && method !== undefined) say({ jsonrpc: '2.0', id, error: { code: -32000, message: error.message } })
    }
  }
  createInterface({ input: process.stdin })
    .on('line', (line) => line.trim() && void send(line))
    .on('close', () => process.exit(0))
  for await (const { event, data } of eventsOf(stream.body)) {
    if (event === 'endpoint') name(data)
    else if (event === 'message') say(JSON.parse(data))
  }
  throw new Trouble('The server has closed its event stream.')
}

const initialize = {
  protocolVersion: '2025-06-18',
  capabilities: {},
  clientInfo: { name: 'ambient', version: '1' },
}

/** The names of the tools, by two questions that \`call\` asks. */
async function toolsBy(call, notify) {
  await call('initialize', initialize)
  await notify('notifications/initialized')
  const names = []
  let cursor
  do {
    const { tools = [], nextCursor } = await call('tools/list', cursor === undefined ? {} : { cursor })
    names.push(...tools.map(({ name }) => String(name)))
    cursor = nextCursor
  } while (cursor !== undefined && names.length < 1000)
  return names
}

const resultOf = ({ result, error }, method) => {
  if (error) throw new Trouble('It answers ' + method + ' with an error: ' + String(error.message).slice(0, 300))
  return result ?? {}
}

async function overHttp(url, headers, signal) {
  let session = {}
  let id = 0
  const post = async (message) => {
    const answer = await ask(url, {
      method: 'POST',
      signal,
      headers: { ...headers, ...session, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    })
    if (!answer.ok) throw new Trouble(await refusalOf(answer))
    const given = answer.headers.get('mcp-session-id')
    if (given !== null) session = { ...session, 'mcp-session-id': given }
    return answer
  }
  const call = async (method, params) => {
    id += 1
    const answer = await post({ id, method, params })
    const type = answer.headers.get('content-type') ?? ''
    if (type.startsWith('text/event-stream')) {
      for await (const { data } of eventsOf(answer.body)) {
        const message = JSON.parse(data)
        if (message.id === id && message.method === undefined) return resultOf(message, method)
      }
      throw new Trouble('Its event stream has ended before it answered ' + method + '.')
    }
    const text = await answer.text()
    try {
      return resultOf(JSON.parse(text), method)
    } catch (error) {
      if (error instanceof Trouble) throw error
      throw new Trouble('Its answer to ' + method + ' is not one of the Model Context Protocol: ' + text.slice(0, 200))
    }
  }
  const tools = await toolsBy(async (method, params) => {
    const result = await call(method, params)
    if (method === 'initialize') session = { ...session, 'mcp-protocol-version': String(result.protocolVersion) }
    return result
  }, async (method) => void (await (await post({ method })).arrayBuffer()))
  if (session['mcp-session-id'] !== undefined)
    await ask(url, { method: 'DELETE', headers: { ...headers, ...session }, signal: AbortSignal.timeout(1000) }).catch(() => {})
  return tools
}

async function overStdio({ command, args, env }, signal) {
  const hidden = Object.values(env).filter((value) => value.length >= 4)
  // In a group of its own: what it has started ends with it.
  const child = spawn(command, args, { stdio: 'pipe', env: environment(env), detached: true })
  const exited = new Promise((resolve) => {
    child.on('error', (error) => resolve(new Trouble(command + ' cannot be started: ' + error.message)))
    child.on('close', (code, by) => {
      const how = code === null ? 'was ended by ' + by : 'ended with exit code ' + code
      resolve(new Trouble('It ' + how + ' before it had told its tools.', code === null ? {} : { exit_code: code }))
    })
  })
  let tail = ''
  child.stderr.setEncoding('utf8').on('data', (part) => (tail = (tail + part).slice(-4 * TAIL)))
  child.stdin.on('error', () => {})
  const waiting = new Map()
  createInterface({ input: child.stdout }).on('line', (line) => {
    let message
    try {
      message = JSON.parse(line)
    } catch {
      tail = (tail + line + '\\n').slice(-4 * TAIL)
      return
    }
    if (message?.method === undefined) waiting.get(message?.id)?.(message)
  })
  const late = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
  late.catch(() => {})
  let id = 0
  const write = (message) => child.stdin.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n')
  try {
    return await toolsBy(
      async (method, params) => {
        id += 1
        const answered = new Promise((resolve) => waiting.set(id, resolve))
        write({ id, method, params })
        const answer = await Promise.race([answered, exited, late])
        if (answer instanceof Trouble) throw answer
        return resultOf(answer, method)
      },
      (method) => write({ method }),
    )
  } catch (error) {
    let told = tail
    for (const value of hidden) told = told.replaceAll(value, '***')
    if (told.trim() !== '') error.more = { ...error.more, log_tail: told.trimEnd().slice(-TAIL) }
    throw error
  } finally {
    child.stdin.end()
    const kill = (by) => {
      try {
        process.kill(-child.pid, by)
      } catch {}
    }
    kill('SIGTERM')
    await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 500))])
    kill('SIGKILL')
  }
}

async function toolsOf(server, signal) {
  if (server.command !== undefined) {
    const args = (server.args ?? []).map(expanded)
    return await overStdio({ command: expanded(server.command), args, env: expandAll(server.env) }, signal)
  }
  if (server.type === 'stdio') return await overStdio(await commandOf(server.url, signal), signal)
  if (server.type === 'http') return await overHttp(expanded(server.url), expandAll(server.headers), signal)
  const env = { ${TOOL_TOKEN}: token }
  return await overStdio({ command: process.execPath, args: [self, 'bridge', server.url], env }, signal)
}

/** What stands in a file of a repository, with the variables of this sandbox. */
const expanded = (text) =>
  text.replace(/\\$\\$\\{|\\$\\{([A-Za-z_]\\w*)(?::-([^}]*))?\\}/g, (whole, name, otherwise) =>
    name === undefined ? whole.slice(1) : (process.env[name] ?? otherwise ?? whole),
  )
const expandAll = (map = {}) => Object.fromEntries(Object.entries(map).map(([name, value]) => [name, expanded(value)]))

async function check() {
  const { servers } = JSON.parse(await readAll(process.stdin))
  await Promise.all(
    servers.map(async (server) => {
      const begun = performance.now()
      const late = new AbortController()
      const seconds = server.start_seconds
      const timer = setTimeout(() => late.abort(new Trouble('It has not told its tools within ' + seconds + ' s.')), seconds * 1000)
      let told
      try {
        told = { ok: true, tools: await toolsOf(server, late.signal) }
      } catch (error) {
        told = { ok: false, reason: error.message, ...error.more }
      } finally {
        clearTimeout(timer)
      }
      console.log(JSON.stringify({ name: server.name, ...told, milliseconds: Math.round(performance.now() - begun) }))
    }),
  )
}

const [, , mode, url] = process.argv
const modes = { run, bridge, check }
modes[mode](url).then(
  () => mode === 'check' && process.exit(0),
  (error) => {
    console.error(error.message)
    process.exit(1)
  },
)
`
