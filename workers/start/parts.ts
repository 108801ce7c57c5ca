// The parts that are processes of ours: how each is started, and what each gets to know.
import { join } from 'node:path'
import { type Config, dataPaths, inheritedEnvironment, root } from '../../config.ts'
import { modelKeySettings } from '../../secrets/gateway/targets.ts'
import { type Running, startProgram } from './running.ts'

export const parts = ['server', 'gateway', 'worker', 'host'] as const
export type Part = (typeof parts)[number]

/** What the supervisor has found out, for its parts. */
export interface Surroundings {
  databaseUrl: string
  hostKind: 'docker' | 'direct'
  /** By which containers reach this machine; null without containers. */
  containerGateway: string | null
}

type Environment = Readonly<Record<string, string | undefined>>

/** By which spans are sent; read by OpenTelemetry's own library. */
const traceHeaders = ['OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_EXPORTER_OTLP_TRACES_HEADERS']

// What says the key is as good as the key.
const vaultKeys = ['AMBIENT_VAULT_KEY', 'AMBIENT_VAULT_KEY_COMMAND']

// The server tells by them which repositories the git broker gets at; the gateway and the worker use them.
const forgeTokens = ['AMBIENT_GITHUB_TOKEN', 'AMBIENT_GITLAB_TOKEN']

// The server tells by the model keys which agents have a model; the gateway uses them. Nobody else knows them.
const secrets: Readonly<Record<Part, readonly string[]>> = {
  server: [
    'DATABASE_URL',
    'AMBIENT_ADMIN_KEY',
    'AMBIENT_WORKER_KEY',
    'AMBIENT_METRICS_KEY',
    'AMBIENT_LINK_KEY',
    ...vaultKeys,
    'AMBIENT_OIDC_CLIENT_SECRET',
    'AMBIENT_S3_ACCESS_KEY_ID',
    'AMBIENT_S3_SECRET_ACCESS_KEY',
    ...modelKeySettings,
    ...forgeTokens,
    ...traceHeaders,
  ],
  gateway: ['DATABASE_URL', ...vaultKeys, 'AMBIENT_METRICS_KEY', ...modelKeySettings, ...forgeTokens],
  worker: ['DATABASE_URL', ...vaultKeys, 'AMBIENT_METRICS_KEY', ...forgeTokens, ...traceHeaders],
  host: ['AMBIENT_WORKER_KEY', 'AMBIENT_METRICS_KEY', ...traceHeaders],
}
/** With the key of whoever uses the command line, which no part needs. */
const allSecrets: ReadonlySet<string> = new Set([...Object.values(secrets).flat(), 'AMBIENT_API_KEY'])

// The host and the worker hand over what they have in hand; the rest only lets open connections end.
const graceMs: Readonly<Record<Part, number>> = { host: 6_000, worker: 6_000, server: 3_500, gateway: 3_500 }

/** Where each serves its metrics, counted from the port that the supervisor has. The server has its own. */
const metricsPlace: Readonly<Record<Part, number>> = { server: 0, worker: 1, host: 2, gateway: 3 }

const metricsPort = (part: Part, config: Config): number =>
  config.AMBIENT_METRICS_PORT === 0 ? 0 : config.AMBIENT_METRICS_PORT + metricsPlace[part]

/** Ends within its grace time after SIGTERM, or is killed. */
export const partGraceMs = (part: Part): number => graceMs[part]

export const partLog = (config: Config, part: string): string => join(dataPaths(config).logs, `${part}.log`)

/** Remembers the running process of a part, with its start time: `{"pid": …, "startTime": …}`. */
export const partPidFile = (config: Config, part: Part): string => join(config.AMBIENT_DATA, 'parts', `${part}.json`)

// An idle process keeps what its young generation grew to; these processes mostly wait.
const nodeFlags = ['--max-semi-space-size=4']

export function startPart(part: Part, config: Config, surroundings: Surroundings): Promise<Running> {
  return startProgram({
    command: [process.execPath, ...nodeFlags, join(root, 'cli', 'main.ts'), part],
    env: partEnvironment(part, config, surroundings),
    logFile: partLog(config, part),
    pidFile: partPidFile(config, part),
    graceMs: graceMs[part],
  })
}

/** What was inherited, with what was found out; of the secrets only what the part needs. */
export function partEnvironment(
  part: Part,
  config: Config,
  surroundings: Surroundings,
  inherited = inheritedEnvironment(),
): Environment {
  const found: Partial<Record<keyof Config, string>> = {
    AMBIENT_DATA: config.AMBIENT_DATA,
    AMBIENT_PORT: String(config.AMBIENT_PORT),
    AMBIENT_GATEWAY_PORT: String(config.AMBIENT_GATEWAY_PORT),
    AMBIENT_GATEWAY_BIND: [config.AMBIENT_GATEWAY_BIND, surroundings.containerGateway].filter(Boolean).join(','),
    AMBIENT_HOST: surroundings.hostKind,
    AMBIENT_URL: localUrl(config),
    AMBIENT_METRICS_PORT: String(metricsPort(part, config)),
    DATABASE_URL: surroundings.databaseUrl,
    // Not as TEMPORAL_ADDRESS: the embedded server has none of the TLS and keys that go with another one.
    AMBIENT_TEMPORAL_PORT: String(config.AMBIENT_TEMPORAL_PORT),
  }
  const all = { ...inherited, NODE_COMPILE_CACHE: join(dataPaths(config).cache, 'node'), ...found }
  const needed: readonly string[] = secrets[part]
  return without(all, (name) => allSecrets.has(name) && !needed.includes(name))
}

/** For programs that are not ours, or need no secret: Postgres, Temporal, npm. */
export const withoutSecrets = (env: Environment): Environment => without(env, (name) => allSecrets.has(name))

const without = (env: Environment, hidden: (name: string) => boolean): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !hidden(name)))

/** Where the server is for processes of this machine, whatever address others know it by. */
export function localUrl(config: Config): string {
  const everywhere = ['0.0.0.0', '::', ''].includes(config.AMBIENT_BIND)
  const address = everywhere ? '127.0.0.1' : config.AMBIENT_BIND
  return `http://${address.includes(':') ? `[${address}]` : address}:${config.AMBIENT_PORT}`
}
