// Agent profiles, rules and saved prompts have the same routes; what differs, each kind says itself.
import { type Request, type Response, Router } from 'express'
import type { z } from 'zod'
import { Uid } from '../../domain/account.ts'
import { ITEMS_LIMIT, type ItemKind, type ItemVersions } from '../../domain/configuration/shared-item.ts'
import type { Action } from '../../domain/permission.ts'
import { profileIn, profilesOf } from '../../store/accounts/principals.ts'
import { note } from '../../store/audit.ts'
import {
  countItems,
  deleteItem,
  findItem,
  ItemNameTakenError,
  type ItemRow,
  ItemVersionError,
  type ItemViewer,
  insertItem,
  listItems,
  listVersions,
  lockItem,
  replaceItem,
} from '../../store/configuration/items.ts'
import type { Queryable, Tx } from '../../store/database.ts'
import { type Caller, callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError, invalid, notFound } from '../errors.ts'
import { once } from '../once.ts'
import { limitOf, pageInfo } from '../page.ts'
import { onlyMethods, parseBody, queryOf, wholeNumber } from '../parse.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'

/** What a body asks for, by the fields that all kinds have. */
interface Asked {
  name: string
  team?: boolean | null | undefined
  version?: number | null | undefined
  default?: boolean | undefined
}

export interface Kind<Body extends Asked> {
  kind: ItemKind
  /** Of its routes, and of the list in an answer. */
  path: 'profiles' | 'rules' | 'prompts'
  /** In sentences. */
  word: string
  view: Action
  manage: Action
  /** Of one team. */
  most: number
  create: z.ZodObject & z.ZodType<Body>
  replace: z.ZodObject & z.ZodType<Body>
  /** With the fields that a body may have because it is sent back as it was shown. */
  shown: z.ZodObject
  /**
   * What is kept of it. `former`: what it takes the place of.
   * @throws {HttpError} where it cannot be.
   */
  content(
    tx: Tx,
    body: Body,
    about: { team: string; owner: string | null; by: string; former: ItemRow | null },
  ): Promise<object>
  /** What its own fields are, as they are served. */
  serve(row: ItemRow): object
  /** What of a served one this caller is shown. Absent: all of it. */
  shownTo?(item: object, caller: Caller): object
  /** @throws {HttpError} where something still needs it. */
  refuseDelete?(tx: Tx, row: ItemRow): Promise<void>
}

export function itemRoutes<Body extends Asked>(deps: ApiDeps, kind: Kind<Body>): Router {
  const { db } = deps
  const { path, word } = kind
  const router = Router()

  router
    .route(`/${path}`)
    .get(permit(kind.view), async (request, response) => {
      const query = queryOf(request)
      const limit = limitOf(query, ITEMS_LIMIT)
      const after = placeOf(query.get('cursor'))
      const { items, next } = await listItems(db, viewerOf(callerOf(response)), kind.kind, { after, limit })
      const served = (await serve(db, items)).map((item) => shown(item, response))
      response.json({ [path]: served, page_info: pageInfo(next && cursorOf(next)) })
    })
    .post(permit(kind.manage), async (request, response) => {
      const caller = callerOf(response)
      const body = bodyOf(request, kind.create)
      const owner = ownerFor(caller, body)
      const answer = await inWords(() =>
        once(deps, request, response, `POST /agent/${path}`, async (tx) => {
          if ((await countItems(tx, caller.team, kind.kind)) >= kind.most)
            throw new HttpError(409, 'conflict', `A team has ${kind.most} ${word}s at most. Delete one.`)
          const content = await kind.content(tx, body, { team: caller.team, owner, by: caller.uid, former: null })
          const fields = { name: body.name, content, isDefault: body.default ?? false }
          const row = await insertItem(tx, { team: caller.team, kind: kind.kind, owner, by: caller }, fields)
          await noteChange(tx, caller, 'create', row)
          return { status: 201, response: await serveOne(tx, row) }
        }),
      )
      response.status(answer.status).json(shown(answer.response as object, response))
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route(`/${path}/:uid`)
    .get(permit(kind.view), async (request, response) => {
      const text = queryOf(request).get('version')
      const version = text === null ? null : wholeNumber(text, 'version', 1, Number.MAX_SAFE_INTEGER)
      const uid = uidOf(request)
      const row = await findItem(db, viewerOf(callerOf(response)), kind.kind, uid, version)
      if (row === null)
        throw version === null ? missing(uid) : notFound(`The ${word} ${uid} has no version ${version}.`)
      response.json(shown(await serveOne(db, row), response))
    })
    .put(permit(kind.manage), async (request, response) => {
      const caller = callerOf(response)
      const uid = uidOf(request)
      const body = bodyOf(request, kind.replace)
      const item = await inWords(() =>
        db.transaction().execute(async (tx) => {
          const viewer = viewerOf(caller)
          const former = await lockItem(tx, viewer, kind.kind, uid)
          if (former === null) throw missing(uid)
          if (body.default && former.owner !== null) throw invalid('default: only a profile of the team can be')
          const content = await kind.content(tx, body, {
            team: caller.team,
            owner: former.owner,
            by: caller.uid,
            former,
          })
          const fields = { name: body.name, content, isDefault: body.default ?? false }
          const at = { kind: kind.kind, uid, by: caller, expected: body.version ?? null }
          const row = await replaceItem(tx, viewer, at, fields)
          if (row === null) throw missing(uid)
          await noteChange(tx, caller, 'update', row)
          return serveOne(tx, row)
        }),
      )
      response.json(shown(item, response))
    })
    .delete(permit(kind.manage), async (request, response) => {
      const caller = callerOf(response)
      const uid = uidOf(request)
      await db.transaction().execute(async (tx) => {
        const row = await deleteItem(tx, viewerOf(caller), kind.kind, uid)
        if (row === null) throw missing(uid)
        await kind.refuseDelete?.(tx, row)
        await noteChange(tx, caller, 'delete', row)
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  router
    .route(`/${path}/:uid/versions`)
    .get(permit(kind.view), async (request, response) => {
      const query = queryOf(request)
      const limit = limitOf(query, ITEMS_LIMIT)
      const cursor = query.get('cursor')
      const before = cursor === null ? null : wholeNumber(cursor, 'cursor', 1, Number.MAX_SAFE_INTEGER)
      const uid = uidOf(request)
      if ((await findItem(db, viewerOf(callerOf(response)), kind.kind, uid)) === null) throw missing(uid)
      const rows = await listVersions(db, uid, { before, limit: limit + 1 })
      const page = rows.slice(0, limit)
      const profiles = await profilesOf(
        db,
        page.map(({ by }) => by),
      )
      response.json({
        versions: page.map(({ version, name, created_at: at, by }) => ({
          version,
          name,
          created_at: at.toISOString(),
          created_by: profileIn(profiles, by),
        })),
        page_info: pageInfo(rows.length > limit ? String(page.at(-1)?.version) : null),
      } satisfies ItemVersions)
    })
    .all(onlyMethods('GET'))

  return router

  function bodyOf(request: Request, schema: z.ZodObject & z.ZodType<Body>): Body {
    refuseUnknown('', unshown(fieldsOf(request.body)), schema)
    return parseBody(schema, request)
  }

  /** Sent back as it was shown, it changes nothing. */
  function unshown(given: Record<string, unknown>): Record<string, unknown> {
    const own = new Set([...Object.keys(kind.create.shape), ...Object.keys(kind.replace.shape)])
    return Object.fromEntries(Object.entries(given).filter(([name]) => own.has(name) || !(name in kind.shown.shape)))
  }

  async function serve(from: Queryable, rows: readonly ItemRow[]): Promise<object[]> {
    const profiles = await profilesOf(from, [...rows.map(creatorOf), ...rows.map(editorOf)])
    return rows.map((row) => ({
      uid: row.uid,
      name: row.name,
      version: row.version,
      scope: { type: row.owner === null ? 'Team' : 'User', uid: row.owner ?? row.team },
      created_at: row.created_at.toISOString(),
      updated_at: row.updated_at.toISOString(),
      created_by: profileIn(profiles, creatorOf(row)),
      updated_by: profileIn(profiles, editorOf(row)),
      ...kind.serve(row),
    }))
  }

  async function serveOne(from: Queryable, row: ItemRow): Promise<object> {
    const [item] = await serve(from, [row])
    return item ?? {}
  }

  function shown(item: object, response: Response): object {
    return kind.shownTo?.(item, callerOf(response)) ?? item
  }

  function uidOf(request: Request): string {
    const uid = Uid.safeParse(request.params.uid)
    if (!uid.success) throw missing(String(request.params.uid))
    return uid.data
  }

  function missing(uid: string): HttpError {
    return notFound(`There is no ${word} ${uid}.`)
  }

  async function noteChange(tx: Tx, caller: Caller, what: string, { uid, name, version }: ItemRow): Promise<void> {
    const thing = { type: kind.kind, uid, team: caller.team }
    await note(tx, { caller, action: `${path}.${what}`, thing, detail: { name, version } })
  }

  async function inWords<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof ItemNameTakenError)
        throw new HttpError(409, 'conflict', `name: ${error.message}`, { cause: error })
      if (error instanceof ItemVersionError)
        throw new HttpError(409, 'conflict', `version: ${error.message} Read it again.`, { cause: error })
      throw error
    }
  }
}

const creatorOf = ({ created_by_type: type, created_by: uid }: ItemRow) => ({ type, uid })
const editorOf = ({ updated_by_type: type, updated_by: uid }: ItemRow) => ({ type, uid })

/** A personal one is for its owner, and for the admins of the team. */
const viewerOf = ({ team, uid, role }: Caller): ItemViewer => ({ team, uid, seesAll: role === 'admin' })

function ownerFor({ type, uid }: Caller, { team, default: isDefault }: Asked): string | null {
  if (team !== false) return null
  if (type === 'service_account') throw invalid('team: what a service account makes is the team’s')
  if (isDefault) throw invalid('default: only a profile of the team can be')
  return uid
}

const cursorOf = (place: string): string => Buffer.from(place).toString('base64url')

function placeOf(cursor: string | null): string | null {
  if (cursor === null) return null
  const place = Buffer.from(cursor, 'base64url').toString()
  if (!/^[01]\d{4}[\s\S]*[A-Za-z0-9]{22}$/.test(place)) throw invalid('cursor: is not one of this list')
  return place
}
