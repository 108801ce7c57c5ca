// What a team, and each of its people, lets the git broker get at repositories with.
import { type Request, type Response, Router } from 'express'
import { GitCredentialConfig, type GitCredentials, gitSecretContext } from '../domain/git/credential.ts'
import { gitScope } from '../domain/git/url.ts'
import { GIT_CREDENTIALS } from '../domain/limits.ts'
import { isAppKey } from '../secrets/git/github-app.ts'
import { note } from '../store/audit.ts'
import type { Queryable, Tx } from '../store/database.ts'
import {
  deleteGitCredential,
  findGitCredential,
  insertGitCredential,
  listGitCredentials,
  replaceGitCredential,
  type StoredGitCredential,
  serveGitCredential,
} from '../store/git/credentials.ts'
import { newUid } from '../store/uid.ts'
import { type Caller, callerOf, insist, permit } from './access/caller.ts'
import { byUid } from './by-uid.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid } from './errors.ts'
import { once } from './once.ts'
import { onlyMethods, parseBody } from './parse.ts'
import { heedGitCredentialFields } from './runs/unknown-fields.ts'

const { uidOf, orMissing } = byUid('git credential')

export function gitCredentialRoutes(deps: ApiDeps): Router {
  const { db, vault } = deps
  const router = Router()

  router
    .route('/git-credentials')
    .get(permit('git_credentials.view'), async (_request, response) => {
      const caller = callerOf(response)
      const rows = await listGitCredentials(db, caller.team, personOf(caller))
      response.json({ git_credentials: rows.map(serveGitCredential) } satisfies GitCredentials)
    })
    .post(permit('git_credentials.own'), async (request, response) => {
      const caller = callerOf(response)
      const config = configOf(request)
      const person = ownerFor(caller, config)
      const secret = secretOf(config)
      if (secret === null) throw invalid(`${secretField(config)}: is missing`)
      const answer = await once(deps, request, response, 'POST /agent/git-credentials', async (tx) => {
        if ((await listGitCredentials(tx, caller.team, person)).length >= GIT_CREDENTIALS)
          throw new HttpError(409, 'conflict', `A team has ${GIT_CREDENTIALS} git credentials at most.`)
        const id = newUid()
        const sealed = vault.seal(secret, gitSecretContext(id))
        const row = await insertGitCredential(tx, { id, team: caller.team, person, by: caller, config, secret: sealed })
        await noteChange(tx, response, 'git_credentials.create', row)
        return { status: 201, response: serveGitCredential(row) }
      })
      response.status(answer.status).json(answer.response)
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/git-credentials/:uid')
    .get(permit('git_credentials.view'), async (request, response) => {
      response.json(serveGitCredential(await found(db, request, response)))
    })
    .put(permit('git_credentials.own'), async (request, response) => {
      const config = configOf(request)
      const item = await db.transaction().execute(async (tx) => {
        const former = await foundToChange(tx, request, response)
        if (config.personal !== (former.person !== null)) throw invalid('personal: cannot be changed')
        const secret = secretOf(config)
        if (secret === null && leadsElsewhere(former, config))
          throw invalid(`${secretField(config)}: is to be given again where it would be shown to another server`)
        const sealed = secret === null ? null : vault.seal(secret, gitSecretContext(former.id))
        const row = await replaceGitCredential(tx, former.id, { config, secret: sealed })
        await noteChange(tx, response, 'git_credentials.update', row)
        return serveGitCredential(row)
      })
      response.json(item)
    })
    .delete(permit('git_credentials.own'), async (request, response) => {
      await db.transaction().execute(async (tx) => {
        const former = await foundToChange(tx, request, response)
        await deleteGitCredential(tx, former.id)
        await noteChange(tx, response, 'git_credentials.delete', former)
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  return router
}

function configOf(request: Request): GitCredentialConfig {
  heedGitCredentialFields(request.body)
  const config = parseBody(GitCredentialConfig, request)
  const key = config.github_app?.private_key
  if (key !== undefined && !isAppKey(key))
    throw invalid('github_app.private_key: must be an RSA private key in PEM, as GitHub gives it')
  return config
}

const secretOf = ({ type, token, github_app: app }: GitCredentialConfig): string | null =>
  (type === 'token' ? token : app?.private_key) ?? null

const secretField = ({ type }: GitCredentialConfig) => (type === 'token' ? 'token' : 'github_app.private_key')

/** Whoever may change where a credential is for is not to learn it by that. */
function leadsElsewhere(former: StoredGitCredential, { type, url, github_app: app }: GitCredentialConfig): boolean {
  const [was, is] = [gitScope(former.url), gitScope(url)]
  const isSameServer = was !== null && is !== null && was.scheme === is.scheme && was.host === is.host
  const api = app?.api_url?.replace(/\/+$/, '') ?? null
  return type !== former.type || !isSameServer || (type === 'github_app' && api !== former.api_url)
}

/** Null: it is the team's, which takes more than one's own. */
function ownerFor(caller: Caller, { personal }: GitCredentialConfig): string | null {
  if (!personal) {
    insist(caller, 'git_credentials.manage')
    return null
  }
  if (caller.type !== 'user')
    throw new HttpError(422, 'operation_not_supported', 'personal: only people have git credentials of their own.')
  return caller.uid
}

const personOf = ({ type, uid }: Caller) => (type === 'user' ? uid : null)

/** Of others nobody sees that there is one. */
async function found(db: Queryable, request: Request, response: Response): Promise<StoredGitCredential> {
  const caller = callerOf(response)
  const id = uidOf(request)
  return orMissing(id, await findGitCredential(db, { team: caller.team, person: personOf(caller), id }))
}

async function foundToChange(tx: Tx, request: Request, response: Response): Promise<StoredGitCredential> {
  const row = await found(tx, request, response)
  if (row.person === null) insist(callerOf(response), 'git_credentials.manage')
  return row
}

const noteChange = (tx: Tx, response: Response, action: string, { id, name, url, person }: StoredGitCredential) =>
  note(tx, {
    caller: callerOf(response),
    action,
    thing: { type: 'git_credential', uid: id },
    detail: { name, url, personal: person !== null },
  })
