// Which host calls, and whether it may speak of the run that it names.
import { type RequestHandler, type RequestParamHandler, type Response, Router } from 'express'
import { HOST_HEADER, HOST_SECRET_HEADER } from '../../domain/host-api.ts'
import { HostName } from '../../domain/worker.ts'
import { type Access, type AccessRequest, findAccess } from '../../store/hosts/host-access.ts'
import { isKnownWorkerKey } from '../../store/hosts/worker-keys.ts'
import type { Attempts } from '../access/attempts.ts'
import { bearerToken, isSameKey } from '../access/auth.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { runId } from '../parse.ts'

/** The host that makes a request. */
export interface HostCaller {
  hostId: string
  secret: string
  /** Null: the key of the settings. */
  keyId: string | null
  /** The only pool of its key; null for any. */
  keyPool: string | null
}

type RunOfRequest = AccessRequest['run']

interface HostLocals {
  caller: HostCaller
  access: Access
  /** What `access.run` answers for. */
  asked: RunOfRequest
  /** To ask for another run of the same request. */
  request: Omit<AccessRequest, 'run'>
}

const localsOf = (response: Response): HostLocals => response.locals.host as HostLocals

export const callerOf = (response: Response): HostCaller => localsOf(response).caller

/**
 * Lets a host pass that is who it says. Before a body is read; the run is looked
 * up in the same query where the path shows it, and judged by {@link hostRouter}.
 */
export function requireHost({
  db,
  keys,
  attempts,
}: Pick<ApiDeps, 'db' | 'keys'> & { attempts: Attempts }): RequestHandler {
  return async (request, response, next) => {
    const token = bearerToken(request)
    const identity = { hostId: request.get(HOST_HEADER) ?? '', secret: request.get(HOST_SECRET_HEADER) ?? '' }
    const asks = { key: isSameKey(token, keys.worker) ? null : token, ...identity }
    const asked = runInPath(request.path)
    const access = await findAccess(db, { ...asks, run: asked })
    if (access.key === 'invalid') {
      // A machine that goes on with a revoked key guesses nothing.
      if (!(await isKnownWorkerKey(db, token))) attempts.fail(request)
      throw new HttpError(
        401,
        'authentication_required',
        'This key is not valid here. A host gets one of its own by: ambient workers keys create',
      )
    }
    refuseMalformed(identity)
    if (access.host === 'stranger') throw strangerTo(identity.hostId)
    const caller = { ...identity, keyId: access.keyId, keyPool: access.keyPool }
    response.locals.host = { caller, access, asked, request: asks } satisfies HostLocals
    next()
  }
}

/** A router whose paths name by `:hostId` or `:runId` what they are about, and let nobody else near it. Every path has to. */
export function hostRouter(deps: Pick<ApiDeps, 'db'>): Router {
  return Router().param('hostId', requireSelf).param('runId', requireHolder(deps))
}

/** For the parameter `hostId`: a host speaks for itself alone, and before its first report it can only report. */
const requireSelf: RequestParamHandler = (request, response, next, id: string) => {
  const { caller } = localsOf(response)
  if (id !== caller.hostId) throw forbidden(`This is ${caller.hostId}; it cannot speak for ${id}.`)
  if (request.method !== 'PUT') refuseUnreported(response)
  next()
}

/** For the parameter `runId`: only the host that holds the run is told of it and heard. */
function requireHolder({ db }: Pick<ApiDeps, 'db'>): RequestParamHandler {
  return async (request, response, next) => {
    try {
      refuseUnreported(response)
      const locals = localsOf(response)
      const run = { runId: runId(request), execution: executionIn(request.params.execution) }
      const isSame = locals.asked?.runId === run.runId && locals.asked.execution === run.execution
      const { run: standing } = isSame ? locals.access : await findAccess(db, { ...locals.request, run })
      if (standing === 'unknown') throw notFound(`There is no run ${run.runId}.`)
      if (standing !== 'held') throw forbidden(`The run is not held by ${locals.caller.hostId}.`)
      next()
    } catch (error) {
      // The router waits for no promise here.
      next(error)
    }
  }
}

export const forbidden = (detail: string) => new HttpError(403, 'not_authorized', detail)

export const strangerTo = (hostId: string) =>
  forbidden(
    `The host id ${hostId} belongs to another machine. If this machine has lost its data directory, remove the old one: ambient workers remove ${hostId}`,
  )

/** Before its first report a host can only report. */
export function refuseUnreported(response: Response): void {
  const { access, caller } = localsOf(response)
  if (access.host === 'new') throw forbidden(`The host ${caller.hostId} has not reported yet.`)
  if (caller.keyPool !== null && access.pool !== caller.keyPool) throw ofAnotherPool(caller.keyPool)
}

export const ofAnotherPool = (pool: string) =>
  forbidden(
    `This key is for hosts of the pool "${pool}". Start the host in that pool (--pool, AMBIENT_POOL), or give it a key for its own: ambient workers keys create`,
  )

function refuseMalformed({ hostId, secret }: { hostId: string; secret: string }): void {
  if (!HostName.safeParse(hostId).success)
    throw invalid(`${HOST_HEADER}: must be 1 to 100 letters, digits, dots, dashes or underscores`)
  if (secret.length < 16 || secret.length > 200) throw invalid(`${HOST_SECRET_HEADER}: must be 16 to 200 characters`)
}

const RUN_PATH = /^\/runs\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/executions\/([^/]+))?/

function runInPath(path: string): RunOfRequest {
  const [, id, execution] = RUN_PATH.exec(path) ?? []
  return id === undefined ? null : { runId: id, execution: executionIn(execution) }
}

/** Null where there is none, or where no execution can have this number: its route says so. */
const executionIn = (text: unknown): number | null =>
  typeof text === 'string' && /^[1-9]\d{0,8}$/.test(text) ? Number(text) : null
