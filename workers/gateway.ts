// The gateway: the one process that has the real model keys.
import { startDemoModel } from '../agents/demo/model.ts'
import { loadConfig, serverUrl } from '../config.ts'
import { toolRequestBytes } from '../domain/tools.ts'
import { createGateway } from '../secrets/gateway.ts'
import { providerTargets } from '../secrets/targets.ts'
import { createToolsDoor } from '../secrets/tools-door.ts'
import { createDatabase } from '../store/database.ts'
import { findCredential, findToolCredential } from '../store/runs/credentials.ts'
import { createGatewayMetrics } from '../telemetry/gateway-metrics.ts'
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
  const database = createDatabase(config, { connections: 4 })
  const targets = providerTargets(config)
  const demo = Object.values(targets).includes(null) ? await startDemoModel() : null
  const standIn = { baseUrl: demo?.url ?? '', apiKey: null }

  const metrics = serveMetrics('gateway', config, log)
  const tellCall = createGatewayMetrics(metrics.registry)
  const gateway = createGateway({
    authorize: (token) => findCredential(database.db, token),
    providers: {
      anthropic: targets.anthropic ?? standIn,
      openai: targets.openai ?? { ...standIn, baseUrl: `${standIn.baseUrl}/v1` },
      gemini: targets.gemini ?? standIn,
    },
    onCall: (call) => {
      log.debug(call, 'model call')
      tellCall(call)
    },
    tools: createToolsDoor({
      authorize: (token) => findToolCredential(database.db, token),
      serverUrl: serverUrl(config),
      maxBytes: toolRequestBytes(config),
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
  metrics.close()
  await demo?.close()
  await database.close()
}
