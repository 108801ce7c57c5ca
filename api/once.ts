// A request that arrives twice is done once.
import { createHmac, randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Request, Response } from 'express'
import type { Tx } from '../store/database.ts'
import {
  answerByKey,
  type KeptAnswer,
  keepAnswer,
  lockRequest,
  lostAnswer,
  markAnswered,
} from '../store/idempotency.ts'
import { type Caller, callerOf } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid } from './errors.ts'

/** How long after an answer a broken connection still means that it may not have arrived. */
const ARRIVAL_MS = 2_000

/**
 * Carries out a POST in one transaction and keeps its answer with it. The same
 * request sent again gets the same answer: known by its Idempotency-Key, or,
 * for clients that send again without one, by its body, when the first answer
 * was not seen to arrive.
 */
export async function once(
  deps: ApiDeps,
  request: Request,
  response: Response,
  route: string,
  work: (tx: Tx) => Promise<KeptAnswer>,
): Promise<KeptAnswer> {
  const scope = scopeOf(callerOf(response), route)
  const bodyHash = hashOf(request.body, deps.keys.links)
  const key = request.get('idempotency-key')
  if (key !== undefined) return withKey(deps, scope, key, bodyHash, work)

  const { answer, keptAs } = await deps.db.transaction().execute(async (tx) => {
    const again = isSentAgain(request)
    await lockRequest(tx, scope, bodyHash, again ? 'alone' : 'among equals')
    const lost = again ? await lostAnswer(tx, scope, bodyHash) : null
    if (lost) return { answer: lost, keptAs: lost.key }
    const answer = await work(tx)
    const keptAs = `unnamed ${randomUUID()}`
    await keepAnswer(tx, { ...answer, scope, key: keptAs, bodyHash })
    return { answer, keptAs }
  })
  noteArrival(deps, request, response, scope, keptAs)
  return answer
}

/** Whoever sends the same as somebody else, or for another team, gets an answer of their own. */
export const scopeOf = ({ type, uid, team }: Pick<Caller, 'type' | 'uid' | 'team'>, route: string): string =>
  `${route} ${type} ${uid} ${team}`

async function withKey(
  deps: ApiDeps,
  scope: string,
  key: string,
  bodyHash: string,
  work: (tx: Tx) => Promise<KeptAnswer>,
): Promise<KeptAnswer> {
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) throw invalid('Idempotency-Key: must be 1 to 255 visible ASCII characters')
  return deps.db.transaction().execute(async (tx) => {
    await lockRequest(tx, scope, key, 'alone')
    const kept = await answerByKey(tx, scope, key)
    if (kept && kept.bodyHash !== bodyHash) {
      throw new HttpError(
        422,
        'idempotency_key_reused',
        'This Idempotency-Key was used for a request with another body.',
      )
    }
    if (kept) return kept
    const answer = await work(tx)
    await keepAnswer(tx, { ...answer, scope, key, bodyHash })
    return answer
  })
}

/** The official clients count their tries. */
const isSentAgain = (request: Request) => Number(request.get('x-stainless-retry-count') ?? 0) > 0

/** For each connection, how to stop watching for its break. */
const watched = new WeakMap<Socket, () => void>()

/**
 * Notes that the answer has gone out, and takes it back when the connection
 * breaks at once afterwards: then nobody may have read it.
 */
function noteArrival(deps: ApiDeps, request: Request, response: Response, scope: string, key: string): void {
  let noted = Promise.resolve()
  const note = (arrived: boolean) => {
    noted = noted
      .then(() => markAnswered(deps.db, scope, key, arrived))
      .catch((error: unknown) => deps.log.warn({ err: error }, 'could not note whether an answer arrived'))
  }
  // Another request on the same connection: the answer before it has been read.
  watched.get(request.socket)?.()
  response.once('finish', () => {
    note(true)
    if (response.shouldKeepAlive) {
      onBreakWithin(request.socket, ARRIVAL_MS, () => {
        if (!deps.closing.aborted) note(false)
      })
    }
  })
}

function onBreakWithin(socket: Socket, milliseconds: number, onBreak: () => void): void {
  const stop = () => {
    clearTimeout(timer)
    socket.off('close', onBreak)
    watched.delete(socket)
  }
  const timer = setTimeout(stop, milliseconds).unref()
  socket.once('close', onBreak)
  watched.set(socket, stop)
}

/** Equal bodies have equal hashes, whatever the order of their fields. With a key: a body may have values that could be guessed. */
const hashOf = (body: unknown, key: string): string =>
  createHmac('sha256', key)
    .update(JSON.stringify(body ?? null, inOrder))
    .digest('hex')

const inOrder = (_key: string, value: unknown): unknown =>
  value !== null && typeof value === 'object' && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value
