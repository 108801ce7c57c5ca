// The only reader of the process's environment: parsed once, checked, frozen.
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { AgentName } from './domain/harness.ts'

/** The directory of this clone. */
export const root = fileURLToPath(new URL('.', import.meta.url))

/** The version of this Ambient, as in package.json. */
export const version: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'))).version

const port = z.coerce.number().int().min(0).max(65_535)
const url = z.url({ protocol: /^https?$/ }).transform((value) => value.replace(/\/+$/, ''))
const key = z.string().min(1)

/** Every setting, by the name of its environment variable. The README's table is made from these descriptions. */
export const Settings = z.object({
  AMBIENT_PORT: port.default(8420).describe('Port of the HTTP API.'),
  AMBIENT_BIND: z.string().default('127.0.0.1').describe('Address the HTTP API listens on.'),
  AMBIENT_GATEWAY_PORT: port.default(8421).describe('Port of the model gateway.'),
  AMBIENT_GATEWAY_BIND: z
    .string()
    .default('')
    .describe(
      'Further addresses the gateway listens on beside 127.0.0.1, separated by commas. The supervisor adds the address by which containers reach this machine.',
    ),
  AMBIENT_GATEWAY_URL: url
    .optional()
    .describe(
      'Where sandboxes and the server find the gateway. Unset: this machine, as each of them sees it, and AMBIENT_GATEWAY_PORT.',
    ),
  AMBIENT_DATA: z
    .string()
    .min(1)
    .default(join(root, '.ambient'))
    .transform((path) => resolve(path))
    .describe('The one directory for all data.'),
  AMBIENT_HOST: z
    .enum(['docker', 'direct', 'auto'])
    .default('auto')
    .describe(
      'Where agents run: in containers, as processes of this machine, or in containers where a Docker daemon answers.',
    ),
  AMBIENT_HOST_ID: z
    .string()
    .regex(/^[\w.-]{1,100}$/)
    .optional()
    .describe('Lasting name of this machine as a host. Unset: made once, kept in the data directory.'),
  AMBIENT_POOL: z
    .string()
    .regex(/^[\w.-]{1,100}$/)
    .default('default')
    .describe('Pool of hosts that this host belongs to.'),
  AMBIENT_CAPACITY: z.coerce.number().int().min(1).max(1000).default(20).describe('Runs that this host holds at once.'),
  AMBIENT_IMAGE: z.string().default('ambient-base:latest').describe('Container image for runs that name none.'),
  AMBIENT_AGENT: AgentName.optional().describe('The default agent. Unset: it follows the model key that is set.'),
  AMBIENT_MODEL: z.string().min(1).optional().describe('The default model of the default agent.'),
  AMBIENT_ADMIN_KEY: key
    .min(16)
    .optional()
    .describe(
      'The API key of the administrator, at least 16 characters. Unset: made once, kept in the data directory with mode 600.',
    ),
  AMBIENT_WORKER_KEY: key
    .min(16)
    .optional()
    .describe('The key by which hosts speak to the server. Unset: made once, kept like the admin key.'),
  AMBIENT_URL: url
    .optional()
    .describe('Where the command line and hosts find the server. Unset: http://127.0.0.1 and AMBIENT_PORT.'),
  AMBIENT_API_KEY: key
    .optional()
    .describe('The key the command line uses. Unset: the admin key from the data directory.'),
  AMBIENT_LOG: z
    .enum(['trace', 'debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Least level of the log lines that are written.'),
  AMBIENT_TURN_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_080)
    .default(360)
    .describe('Longest time one turn of an agent may take, in minutes.'),
  AMBIENT_IDLE_MINUTES: z.coerce
    .number()
    .int()
    .min(0)
    .max(60)
    .default(10)
    .describe('How long a sandbox is kept after its work is done, in minutes, where the run does not say.'),
  AMBIENT_WORKSPACE_HOURS: z.coerce
    .number()
    .int()
    .min(0)
    .max(8_760)
    .default(168)
    .describe(
      "How long a workspace and the agent's state are kept for a follow-up after the sandbox is gone, in hours.",
    ),
  AMBIENT_MEMORY_MB: z.coerce.number().int().min(256).default(4096).describe('Memory limit of one container, in MiB.'),
  AMBIENT_CPUS: z.coerce.number().min(0.1).default(2).describe('Processor limit of one container.'),
  AMBIENT_PIDS: z.coerce
    .number()
    .int()
    .min(64)
    .default(1024)
    .describe('Limit of processes and threads in one container.'),
  AMBIENT_RESULT_MB: z.coerce
    .number()
    .int()
    .min(1)
    .max(256)
    .default(16)
    .describe('Largest diff or bundle of one repository that is kept with a run, in MiB.'),
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/ })
    .optional()
    .describe('Postgres to use. Unset: the embedded one.'),
  AMBIENT_POSTGRES_PORT: port.default(8422).describe('Port of the embedded Postgres.'),
  TEMPORAL_ADDRESS: z
    .string()
    .regex(/^[^\s:]+:\d+$/, 'must be host:port')
    .optional()
    .describe('Temporal server to use. Unset: the embedded one.'),
  TEMPORAL_NAMESPACE: z.string().min(1).default('default').describe('Temporal namespace.'),
  AMBIENT_TEMPORAL_PORT: port.default(8423).describe('Port of the embedded Temporal server.'),
  AMBIENT_TEMPORAL_UI_PORT: port.default(8424).describe('Port of its web UI.'),
  ANTHROPIC_API_KEY: key.optional().describe('Key for Anthropic models.'),
  ANTHROPIC_BASE_URL: url.default('https://api.anthropic.com').describe('Where Anthropic models are served.'),
  OPENAI_API_KEY: key.optional().describe('Key for OpenAI models, or any compatible endpoint.'),
  OPENAI_BASE_URL: url
    .default('https://api.openai.com/v1')
    .describe('Where OpenAI models, or compatible ones, are served; with its /v1.'),
  GEMINI_API_KEY: key.optional().describe('Key for Gemini models.'),
  GOOGLE_GEMINI_BASE_URL: url
    .default('https://generativelanguage.googleapis.com')
    .describe('Where Gemini models are served.'),
})

export type Config = Readonly<z.infer<typeof Settings>>

/** A setting that does not fit, named. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/**
 * Parses the settings. An empty variable counts as unset, as shells and compose files leave them.
 * @throws {ConfigError} naming every setting that does not fit; values are not repeated, they may be secrets.
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''))
  const parsed = Settings.safeParse(set)
  if (parsed.success) return Object.freeze(parsed.data)
  const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`)
  throw new ConfigError(`These settings do not fit:\n${problems.join('\n')}\nThe README has a table of all settings.`)
}

/** Where things are in the data directory. */
export function dataPaths(config: Config) {
  const data = config.AMBIENT_DATA
  return {
    adminKey: join(data, 'admin-key'),
    workerKey: join(data, 'worker-key'),
    hostId: join(data, 'host-id'),
    postgres: join(data, 'postgres'),
    temporal: join(data, 'temporal'),
    bin: join(data, 'bin'),
    logs: join(data, 'logs'),
    agents: join(data, 'agents'),
    runs: join(data, 'runs'),
    cache: join(data, 'cache'),
  }
}

/** Where the server is, for the command line and the hosts. */
export const serverUrl = (config: Config): string => config.AMBIENT_URL ?? `http://127.0.0.1:${config.AMBIENT_PORT}`

/** A variable of whoever calls the command line, for `--env NAME`. */
export const callerVariable = (name: string): string | undefined => process.env[name]

/** What this process was started with, for the programs that it starts in turn. */
export const inheritedEnvironment = (): Record<string, string | undefined> => ({ ...process.env })
