// The gateway: the one process that has the real model keys.
import type { IncomingMessage } from 'node:http'
import { startDemoModel } from '../agents/demo/model.ts'
import { gitAllowed, loadConfig, mcpAllowed, moneyRules, providerAllowed, serverUrl } from '../config.ts'
import { toolRequestBytes } from '../domain/tools.ts'
import { isClosed } from '../environments/egress/addresses.ts'
import { placeOf } from '../secrets/gateway/binding.ts'
import { loadCatalogue } from '../secrets/gateway/catalogue.ts'
import { createGateway } from '../secrets/gateway/gateway.ts'
import { createModelCalls } from '../secrets/gateway/model-calls.ts'
import { createRouting } from '../secrets/gateway/route.ts'
import { providerTargets, providerUrls } from '../secrets/gateway/targets.ts'
import { createGitBroker } from '../secrets/git/broker.ts'
import { mayUseGit } from '../secrets/git/place.ts'
import { createGitSources } from '../secrets/git/sources.ts'
import { createUpstream } from '../secrets/git/upstream.ts'
import { createMcpDoor } from '../secrets/mcp/door.ts'
import { resolveServer } from '../secrets/mcp/resolve.ts'
import { createToolsDoor } from '../secrets/tools/door.ts'
import { createVault } from '../secrets/vault/vault.ts'
import { createDatabase } from '../store/database.ts'
import { findGitGrant } from '../store/git/tokens.ts'
import { refuseUnpriced } from '../store/models/limited.ts'
import { admitCall } from '../store/money/admit.ts'
import { chargeCall } from '../store/money/charge.ts'
import { bindingOf, claimCredential, findCredential, findToolCredential } from '../store/runs/credentials.ts'
import { createGatewayMetrics } from '../telemetry/gateway-metrics.ts'
import { outsideAgent } from '../webhooks/outside.ts'
import type { ExecutionRef } from '../workflows/contract.ts'
import { gatewayAddresses } from './gateway-addresses.ts'
import { createLog } from './log.ts'
import { serveMetrics } from './metrics.ts'
import { stopSignal } from './start/stop-signal.ts'

/** 3 s: a model's answer often ends in it, and a stop of everything has ten. */
const DRAIN_MS = 3_000

export async function main(): Promise<void> {
  const config = loadConfig()
  const log = createLog(config, 'gateway')
  const stop = stopSignal()
  const database = createDatabase(config, { connections: 8 })
  const targets = providerTargets(config)
  const demo = Object.values(targets).includes(null) ? await startDemoModel() : null
  const standIn = (path = '') => ({ baseUrl: `${demo?.url ?? ''}${path}`, apiKey: null, isDemo: true })
  const vault = await createVault(config)
  const models = loadCatalogue(config)
  const money = moneyRules(config)
  const { route, rules } = createRouting({
    db: database.db,
    vault,
    models,
    servers: {
      anthropic: targets.anthropic ?? standIn(),
      openai: targets.openai ?? standIn('/v1'),
      gemini: targets.gemini ?? standIn(),
    },
    baseUrls: providerUrls(config),
  })
  const calls = createModelCalls({
    db: database.db,
    models,
    rules,
    admit: async (run, call) =>
      (await admitCall(database.db, money, run, call)) ??
      (await refuseUnpriced(database.db, config.AMBIENT_UNPRICED_MODELS, money, run, call)),
    charge: (tx, call) => chargeCall(tx, money, call),
    log,
  })

  const metrics = serveMetrics('gateway', config, log)
  const tell = createGatewayMetrics(metrics.registry)
  const allowed = providerAllowed(config)
  const reachedByGit = gitAllowed(config)
  const gitServers = createUpstream((address) => !isClosed(address, reachedByGit))
  const placeOfTool = async (run: ExecutionRef, request: IncomingMessage) =>
    placeOf(await bindingOf(database.db, run), request, (address) => claimCredential(database.db, run, address))
  const gateway = createGateway({
    authorize: (token) => findCredential(database.db, token),
    claim: (run, address) => claimCredential(database.db, run, address),
    route,
    hooks: calls,
    mayReach: (address) => !isClosed(address, allowed),
    onCall: (call) => {
      log.debug(call, 'model call')
      tell.called(call)
    },
    onRefusal: ({ reason }) => tell.refused(reason),
    tools: createToolsDoor({
      authorize: (token) => findToolCredential(database.db, token),
      place: placeOfTool,
      serverUrl: serverUrl(config),
      maxBytes: toolRequestBytes(config),
      log,
    }),
    mcpServers: createMcpDoor({
      authorize: (token) => findToolCredential(database.db, token),
      place: placeOfTool,
      resolve: (runId, name) => resolveServer(database.db, vault, runId, name),
      dispatcher: outsideAgent(mcpAllowed(config), undefined, 'AMBIENT_MCP_ALLOW'),
      log,
    }),
    git: createGitBroker({
      findGrant: (token) => findGitGrant(database.db, token),
      sources: createGitSources({ db: database.db, vault, upstream: gitServers, config }),
      upstream: gitServers,
      mayUse: (grant, request) => mayUseGit(database.db, grant, request),
      log,
    }),
    log,
  })

  const [first, ...others] = gatewayAddresses(config.AMBIENT_GATEWAY_BIND)
  const port = await gateway.listen(config.AMBIENT_GATEWAY_PORT, first)
  for (const address of others) await gateway.listen(port, address)
  const demoFor = Object.entries(targets).flatMap(([name, target]) => (target === null ? [name] : []))
  log.info({ port, bind: config.AMBIENT_GATEWAY_BIND, demoFor }, 'listening')

  log.info({ signal: await stop.received }, 'stopping')
  await gateway.close(DRAIN_MS)
  calls.close()
  gitServers.close()
  metrics.close()
  await demo?.close()
  await database.close()
}
