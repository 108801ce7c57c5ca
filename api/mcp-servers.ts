// Stored MCP servers of a team.
import { type Response, Router } from 'express'
import { McpServerConfig, type McpServerItem, namesIn, STORED_MCP_SERVERS } from '../domain/mcp/server.ts'
import { withStoredValues } from '../domain/mcp/values.ts'
import { sealServer } from '../secrets/mcp/values.ts'
import { note } from '../store/audit.ts'
import type { Tx } from '../store/database.ts'
import {
  countMcpServers,
  deleteMcpServer,
  findMcpServer,
  insertMcpServer,
  listMcpServers,
  McpServerNameTakenError,
  replaceMcpServer,
} from '../store/mcp-servers.ts'
import { teamSecretNames } from '../store/secrets/run-secrets.ts'
import { callerOf, permit } from './access/caller.ts'
import { byUid } from './by-uid.ts'
import type { ApiDeps } from './deps.ts'
import { HttpError, invalid } from './errors.ts'
import { once } from './once.ts'
import { onlyMethods, parseBody } from './parse.ts'
import { shownTo } from './shown-servers.ts'

const { uidOf, orMissing } = byUid('MCP server')

export function mcpServerRoutes(deps: ApiDeps): Router {
  const { db, vault } = deps
  const router = Router()

  router
    .route('/mcp-servers')
    .get(permit('mcp_servers.view'), async (_request, response) => {
      const caller = callerOf(response)
      const items = await listMcpServers(db, caller.team)
      response.json({ mcp_servers: items.map(shownTo(deps, caller).server) })
    })
    .post(permit('mcp_servers.manage'), async (request, response) => {
      const caller = callerOf(response)
      const config = parseBody(McpServerConfig, request)
      const sealed = withStoredValues(sealServer(vault, caller.team, config), undefined, missingValue)
      const answer = await refusingTaken(() =>
        once(deps, request, response, 'POST /agent/mcp-servers', async (tx) => {
          if ((await countMcpServers(tx, caller.team)) >= STORED_MCP_SERVERS)
            throw new HttpError(409, 'conflict', `A team has ${STORED_MCP_SERVERS} MCP servers at most.`)
          await refuseOpenSecrets(tx, caller.team, config)
          const item = await insertMcpServer(tx, caller.team, sealed, caller)
          await noteChange(tx, response, 'mcp_servers.create', item)
          return { status: 201, response: item }
        }),
      )
      response.status(answer.status).json(shownTo(deps, caller).server(answer.response as McpServerItem))
    })
    .all(onlyMethods('GET', 'POST'))

  router
    .route('/mcp-servers/:uid')
    .get(permit('mcp_servers.view'), async (request, response) => {
      const uid = uidOf(request)
      const caller = callerOf(response)
      response.json(shownTo(deps, caller).server(orMissing(uid, await findMcpServer(db, caller.team, uid))))
    })
    .put(permit('mcp_servers.manage'), async (request, response) => {
      const uid = uidOf(request)
      const caller = callerOf(response)
      const { team } = caller
      const config = parseBody(McpServerConfig, request)
      const sealed = sealServer(vault, team, config)
      const item = await refusingTaken(() =>
        db.transaction().execute(async (tx) => {
          await refuseOpenSecrets(tx, team, config)
          const replaced = await replaceMcpServer(tx, team, uid, (stored) =>
            withStoredValues(sealed, stored, missingValue),
          )
          if (replaced !== null) await noteChange(tx, response, 'mcp_servers.update', replaced)
          return replaced
        }),
      )
      response.json(shownTo(deps, caller).server(orMissing(uid, item)))
    })
    .delete(permit('mcp_servers.manage'), async (request, response) => {
      const uid = uidOf(request)
      await db.transaction().execute(async (tx) => {
        const deleted = orMissing(uid, await deleteMcpServer(tx, callerOf(response).team, uid))
        await noteChange(tx, response, 'mcp_servers.delete', { uid, ...deleted })
      })
      response.status(204).end()
    })
    .all(onlyMethods('GET', 'PUT', 'DELETE'))

  return router
}

const noteChange = (tx: Tx, response: Response, action: string, { uid, name }: Pick<McpServerItem, 'uid' | 'name'>) =>
  note(tx, { caller: callerOf(response), action, thing: { type: 'mcp_server', uid }, detail: { name } })

/** A name in a command may be a variable's of the run. What is a secret already, no run would start it with. */
async function refuseOpenSecrets(tx: Tx, team: string, { command, args = [] }: McpServerConfig): Promise<void> {
  const [open] = await teamSecretNames(tx, team, [command ?? '', ...args].flatMap(namesIn))
  if (open !== undefined)
    throw invalid(
      `args: \${${open}} is a secret, and an argument can be read by every program of the machine. Give it to the server in env`,
    )
}

const missingValue = (place: string) => invalid(place)

/** An id in the path that none can have names nothing that exists. */
async function refusingTaken<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof McpServerNameTakenError) throw new HttpError(409, 'conflict', error.message)
    throw error
  }
}
