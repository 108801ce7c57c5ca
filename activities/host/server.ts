// Runs on the worker that holds the sandbox. What a host asks of the server, over HTTP.
import { createReadStream, createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Agent, request } from 'undici'
import type { z } from 'zod'
import type { CheckpointSummary } from '../../domain/checkpoint.ts'
import type { BuildReason } from '../../domain/environment.ts'
import {
  type AppendEvents,
  Appended,
  AskedInTurn,
  type BlockedHosts,
  BuildAsked,
  type BuildLog,
  BuildOrder,
  CHECKPOINT_TYPE,
  ClaimAnswer,
  type CredentialBinding,
  EnvironmentGit,
  ExecutionOrder,
  GitCredential,
  HOST_API,
  HOST_HEADER,
  HOST_SECRET_HEADER,
  type HostReport,
  HostStanding,
  JournalPosition,
  MessageText,
  RunCredential,
  type RunResult,
  type SkillReading,
  SkillReadingOrder,
  SkillTexts,
  SWEEP_RUNS,
  SweepAnswer,
  ToolCredential,
} from '../../domain/host-api.ts'
import { Problem } from '../../domain/problem.ts'

/** The server refuses this host's execution: a newer one has taken the run over. */
export class FencedError extends Error {
  override readonly name = 'FencedError'
}

/** The server refused a request for good. */
export class ServerRefusal extends Error {
  override readonly name = 'ServerRefusal'
  readonly status: number
  /** What the server says of it, for people; null where the answer is none of an Ambient server. */
  readonly detail: string | null
  constructor(status: number, message: string, detail: string | null = null) {
    super(message)
    this.status = status
    this.detail = detail
  }
}

export interface SentCheckpoint {
  file: string
  summary: CheckpointSummary
  /** Another execution has taken over from this one. */
  late: boolean
}

export interface HostServer {
  report(report: HostReport, signal: AbortSignal): Promise<HostStanding>
  claim(runId: string, execution: number, signal: AbortSignal): Promise<ClaimAnswer>
  /** However many runs there are. */
  sweep(runIds: readonly string[], signal: AbortSignal): Promise<SweepAnswer>
  order(runId: string, execution: number, signal: AbortSignal): Promise<ExecutionOrder>
  /** Of an execution that another one has taken over from. */
  lateOrder(runId: string, execution: number, signal: AbortSignal): Promise<ExecutionOrder>
  message(runId: string, messageId: string, signal: AbortSignal): Promise<MessageText>
  /** `binds`: it is good nowhere until {@link bind} has told, or from where `binding` says. */
  credential(
    runId: string,
    execution: number,
    from: { binds: boolean; binding: CredentialBinding | null },
    signal: AbortSignal,
  ): Promise<RunCredential>
  /** From where the gateway token may be used. */
  bind(runId: string, execution: number, binding: CredentialBinding, signal: AbortSignal): Promise<void>
  /** A further one for the agent's tools; null from a server that has none. */
  toolCredential(runId: string, execution: number, signal: AbortSignal): Promise<string | null>
  /** A token for the git broker. */
  gitCredential(
    runId: string,
    execution: number,
    of: { forHost: boolean; binding: CredentialBinding | null },
    signal: AbortSignal,
  ): Promise<string>
  buildGitCredential(buildId: string, signal: AbortSignal): Promise<string>
  /** What the broker has of an environment's repositories. */
  environmentGit(environmentId: string, signal: AbortSignal): Promise<EnvironmentGit>
  /** What the agent wants, now that its turn has ended. */
  asked(runId: string, execution: number, signal: AbortSignal): Promise<AskedInTurn>
  sendArtifact(runId: string, execution: number, uid: string, content: Buffer, signal: AbortSignal): Promise<void>
  refuseArtifact(runId: string, execution: number, uid: string, reason: string, signal: AbortSignal): Promise<void>
  attachment(runId: string, uid: string, signal: AbortSignal): Promise<Buffer>
  append(runId: string, execution: number, batch: z.input<typeof AppendEvents>, signal: AbortSignal): Promise<Appended>
  position(runId: string, journal: string, signal: AbortSignal): Promise<number>
  result(runId: string, execution: number, result: RunResult, signal: AbortSignal): Promise<void>
  blockedHosts(runId: string, execution: number, blocked: BlockedHosts, signal: AbortSignal): Promise<void>
  /** Sends a file, which becomes the run's newest checkpoint; a late one only joins the history. */
  saveCheckpoint(runId: string, execution: number, sent: SentCheckpoint, signal: AbortSignal): Promise<void>
  /** Writes the run's checkpoint into a file. @returns false when there is none. */
  loadCheckpoint(runId: string, execution: number, file: string, signal: AbortSignal): Promise<boolean>
  build(buildId: string, signal: AbortSignal): Promise<BuildOrder>
  buildLog(buildId: string, log: BuildLog, signal: AbortSignal): Promise<void>
  /** @returns the id of the build. @throws {ServerRefusal} where the environment is not to be built here. */
  askForBuild(environmentId: string, reason: BuildReason, signal: AbortSignal): Promise<string>
  /** What the skills of the run say, in the order of its execution's; with what lies beside it where that is asked for. */
  skills(runId: string, options: { withFiles: boolean }, signal: AbortSignal): Promise<SkillTexts['skills']>
  /** Null: it is over. */
  skillReading(readingId: string, signal: AbortSignal): Promise<SkillReadingOrder | null>
  /** Ends a reading. */
  skillsRead(readingId: string, reading: SkillReading, signal: AbortSignal): Promise<void>
  /** A run has started from what has this content key. */
  environmentUsed(environmentId: string, key: string, signal: AbortSignal): Promise<void>
}

/** Pauses between tries while the server does not answer, in milliseconds; the last one repeats. */
const PAUSES = [50, 100, 200, 400, 800, 1500]

/**
 * A client that outlasts the server's restarts: a request is sent again until
 * it is answered or its signal aborts. Every route is safe to repeat.
 */
export function createHostServer(options: {
  url: string
  key: string
  /** Who this host is, and what proves it. */
  hostId: string
  secret: string
  log: Logger
}): HostServer {
  // Idle connections are dropped by a restarting server; a short keep-alive keeps stale sockets rare.
  const agent = new Agent({ keepAliveTimeout: 4_000, connections: 32 })
  const base = `${options.url}${HOST_API}`

  async function call(
    method: 'GET' | 'PUT' | 'POST',
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<unknown> {
    return await untilAnswered(path, signal, async () => {
      const content = body === undefined ? null : { type: 'application/json', body: JSON.stringify(body) }
      const response = await ask(method, path, signal, content)
      const text = await response.text()
      return text === '' ? null : (JSON.parse(text) as unknown)
    })
  }

  /** Asks again and again until there is an answer, or one that the same question will always get. */
  async function untilAnswered<T>(path: string, signal: AbortSignal, once: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted()
      try {
        return await once()
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof FencedError || error instanceof ServerRefusal) throw error
        if (attempt === 3) options.log.warn({ path, reason: String(error) }, 'the server does not answer; trying on')
      }
      await sleep(PAUSES[Math.min(attempt, PAUSES.length - 1)], undefined, { signal })
    }
  }

  /** @returns the body of a good answer. */
  async function ask(
    method: 'GET' | 'PUT' | 'POST',
    path: string,
    signal: AbortSignal,
    content: { type: string; body: string | Buffer | Readable; length?: number } | null,
  ) {
    const response = await request(`${base}${path}`, {
      method,
      dispatcher: agent,
      signal,
      headers: {
        authorization: `Bearer ${options.key}`,
        [HOST_HEADER]: options.hostId,
        [HOST_SECRET_HEADER]: options.secret,
        ...(content === null ? {} : { 'content-type': content.type }),
        ...(content?.length === undefined ? {} : { 'content-length': String(content.length) }),
      },
      body: content?.body ?? null,
    })
    if (response.statusCode < 300) return response.body
    const text = await response.body.text()
    if (response.statusCode === 409) throw new FencedError(text)
    if (response.statusCode >= 500 || response.statusCode === 429)
      throw new Error(`${response.statusCode}: ${text.slice(0, 300)}`)
    const { statusCode: status } = response
    throw new ServerRefusal(status, `${method} ${path}: ${status} ${text.slice(0, 500)}`, detailIn(text))
  }

  const checkpointPath = (runId: string, execution: number) => `/runs/${runId}/executions/${execution}/checkpoint`

  return {
    async report(report, signal) {
      return HostStanding.parse(await call('PUT', `/hosts/${options.hostId}`, signal, report))
    },
    async claim(runId, execution, signal) {
      const asked = { run_id: runId, execution }
      return ClaimAnswer.parse(await call('POST', `/hosts/${options.hostId}/claims`, signal, asked))
    },
    async sweep(runIds, signal) {
      const answer: SweepAnswer = { remove: [], stop: [], save: [] }
      for (let at = 0; at < runIds.length; at += SWEEP_RUNS) {
        const body = { run_ids: runIds.slice(at, at + SWEEP_RUNS) }
        const page = SweepAnswer.parse(await call('POST', `/hosts/${options.hostId}/sweep`, signal, body))
        answer.remove.push(...page.remove)
        answer.stop.push(...page.stop)
        answer.save.push(...page.save)
      }
      return answer
    },
    async order(runId, execution, signal) {
      return ExecutionOrder.parse(await call('GET', `/runs/${runId}/executions/${execution}`, signal))
    },
    async lateOrder(runId, execution, signal) {
      return ExecutionOrder.parse(await call('GET', `/runs/${runId}/executions/${execution}?late=true`, signal))
    },
    async message(runId, messageId, signal) {
      return MessageText.parse(await call('GET', `/runs/${runId}/messages/${messageId}`, signal))
    },
    async credential(runId, execution, from, signal) {
      const path = `/runs/${runId}/executions/${execution}/credential`
      return RunCredential.parse(await call('POST', path, signal, from))
    },
    async bind(runId, execution, binding, signal) {
      await call('PUT', `/runs/${runId}/executions/${execution}/binding`, signal, binding)
    },
    async toolCredential(runId, execution, signal) {
      const path = `/runs/${runId}/executions/${execution}/tool-credential`
      return await unlessOlder(null, async () => ToolCredential.parse(await call('POST', path, signal, {})).tool_token)
    },
    async gitCredential(runId, execution, { forHost, binding }, signal) {
      const path = `/runs/${runId}/executions/${execution}/git-credential`
      return GitCredential.parse(await call('POST', path, signal, { for_host: forHost, binding })).git_token
    },
    async buildGitCredential(buildId, signal) {
      return GitCredential.parse(await call('POST', `/builds/${buildId}/git-credential`, signal, {})).git_token
    },
    async environmentGit(environmentId, signal) {
      const path = `/environments/${environmentId}/git-credential`
      const nothing = { git_token: null, git: [] }
      return await unlessOlder(nothing, async () => EnvironmentGit.parse(await call('POST', path, signal, {})))
    },
    async asked(runId, execution, signal) {
      const path = `/runs/${runId}/executions/${execution}/asked`
      const nothing = { question: null, stopped: null, files: [], max_file_bytes: 0 }
      return await unlessOlder(nothing, async () => AskedInTurn.parse(await call('GET', path, signal)))
    },
    async sendArtifact(runId, execution, uid, content, signal) {
      const path = `/runs/${runId}/executions/${execution}/artifacts/${uid}`
      await untilAnswered(path, signal, async () => {
        const sent = { type: 'application/octet-stream', body: content, length: content.length }
        await (await ask('PUT', path, signal, sent)).dump()
      })
    },
    async refuseArtifact(runId, execution, uid, reason, signal) {
      await call('POST', `/runs/${runId}/executions/${execution}/artifacts/${uid}/refused`, signal, { reason })
    },
    async attachment(runId, uid, signal) {
      const path = `/runs/${runId}/attachments/${uid}`
      return await untilAnswered(path, signal, async () =>
        Buffer.from(await (await ask('GET', path, signal, null)).arrayBuffer()),
      )
    },
    async append(runId, execution, batch, signal) {
      return Appended.parse(await call('POST', `/runs/${runId}/executions/${execution}/events`, signal, batch))
    },
    async position(runId, journal, signal) {
      return JournalPosition.parse(await call('GET', `/runs/${runId}/journals/${encodeURIComponent(journal)}`, signal))
        .line
    },
    async result(runId, execution, result, signal) {
      await call('PUT', `/runs/${runId}/executions/${execution}/result`, signal, result)
    },
    async blockedHosts(runId, execution, blocked, signal) {
      await call('PUT', `/runs/${runId}/executions/${execution}/blocked-hosts`, signal, blocked)
    },
    async build(buildId, signal) {
      return BuildOrder.parse(await call('GET', `/builds/${buildId}`, signal))
    },
    async buildLog(buildId, log, signal) {
      await call('POST', `/builds/${buildId}/log`, signal, log)
    },
    async askForBuild(environmentId, reason, signal) {
      const path = `/environments/${environmentId}/builds`
      return BuildAsked.parse(await call('POST', path, signal, { reason })).build_id
    },
    async skills(runId, { withFiles }, signal) {
      const path = `/runs/${runId}/skills${withFiles ? '?files=true' : ''}`
      return SkillTexts.parse(await call('GET', path, signal)).skills
    },
    async skillReading(readingId, signal) {
      return await unlessOlder(null, async () =>
        SkillReadingOrder.parse(await call('GET', `/skill-readings/${readingId}`, signal)),
      )
    },
    async skillsRead(readingId, reading, signal) {
      await unlessOlder(null, () => call('PUT', `/skill-readings/${readingId}`, signal, reading))
    },
    async environmentUsed(environmentId, key, signal) {
      await call('POST', `/environments/${environmentId}/used`, signal, { key })
    },
    async saveCheckpoint(runId, execution, { file, summary, late }, signal) {
      const path = late ? `/runs/${runId}/executions/${execution}/late-checkpoint` : checkpointPath(runId, execution)
      const { size } = await stat(file)
      const line = Buffer.from(`${JSON.stringify(summary)}\n`)
      await untilAnswered(path, signal, async () => {
        const body = Readable.from(linesBefore(file, line))
        const content = { type: CHECKPOINT_TYPE, body, length: line.length + size }
        await (await ask('PUT', path, signal, content)).dump()
      })
    },
    async loadCheckpoint(runId, execution, file, signal) {
      const path = checkpointPath(runId, execution)
      try {
        await untilAnswered(path, signal, async () => {
          await pipeline(await ask('GET', path, signal, null), createWriteStream(file, { mode: 0o600 }), { signal })
        })
        return true
      } catch (error) {
        if (error instanceof ServerRefusal && error.status === 404) return false
        throw error
      }
    },
  }
}

/** A server of an older version has no such route. */
async function unlessOlder<T>(instead: T, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (error instanceof ServerRefusal && error.status === 404) return instead
    throw error
  }
}

async function* linesBefore(file: string, line: Buffer): AsyncGenerator<Buffer> {
  yield line
  yield* createReadStream(file) as AsyncIterable<Buffer>
}

function detailIn(text: string): string | null {
  try {
    return Problem.pick({ detail: true }).parse(JSON.parse(text)).detail
  } catch {
    return null // A proxy's page, or another program's.
  }
}
