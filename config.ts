// The only reader of the process's environment: parsed once, checked, frozen.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { canonicalTimeZone } from './domain/cron.ts'
import { AgentName } from './domain/harness.ts'
import { either, issueWords } from './domain/issue-words.ts'
import { CHECKPOINT_MB } from './domain/limits.ts'
import type { MoneyRules } from './domain/money/rules.ts'
import { MICRO } from './domain/money/words.ts'
import { nearest } from './domain/nearest.ts'
import { isHexKey, keyWords } from './domain/vault/key-words.ts'

/** The directory of this clone. */
export const root = fileURLToPath(new URL('.', import.meta.url))

/** The version of this Ambient, as in package.json. */
export const version: string = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'))).version

const port = z.coerce.number().int().min(0).max(65_535)
const url = z.url({ protocol: /^https?$/ }).transform((value) => value.replace(/\/+$/, ''))
const key = z.string().min(1)
const price = z.coerce.number().min(0).max(1_000_000)

const isVaultKey = (word: string): boolean => isHexKey(word) || /^[A-Za-z0-9+/_-]{43}=?$/.test(word)

/** Every setting, by the name of its environment variable. The table in docs/settings.md is made from these descriptions. */
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
    .regex(/^[\w.-]{1,100}$/, 'must be 1 to 100 letters, digits, dots, dashes or underscores')
    .optional()
    .describe('Lasting name of this machine as a host. Unset: made once, kept in the data directory.'),
  AMBIENT_POOL: z
    .string()
    .regex(/^[\w.-]{1,100}$/, 'must be 1 to 100 letters, digits, dots, dashes or underscores')
    .default('default')
    .describe('Pool of hosts that this host belongs to; for the server, of runs that name none.'),
  AMBIENT_CAPACITY: z.coerce.number().int().min(1).max(1000).default(20).describe('Runs that this host holds at once.'),
  AMBIENT_TEAM_RUNS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(1000)
    .describe(
      'Runs of one team that are at work at once, where the team has no limit of its own; further ones wait in line. The server reads it at its start.',
    ),
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
  AMBIENT_PUBLIC_URL: url
    .optional()
    .describe(
      'Where people find the server with their browsers: sign-in and share links lead there. Unset: AMBIENT_URL, or this machine. Behind https, cookies are sent by https alone.',
    ),
  AMBIENT_TRUST_PROXY: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every((entry) => entry === 'loopback' || isAddressRange(entry)), {
      error: 'must be `loopback`, addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Proxies in front of the server, as addresses and ranges separated by commas, or `loopback` for this machine: what they say in X-Forwarded-For is believed, for the audit log and the limit of wrong keys. Empty: a request comes from whoever connects.',
    ),
  AMBIENT_WRONG_KEYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(30)
    .describe(
      'Unknown keys, share links and failed sign-ins that one address may come with within a minute; further wrong ones are then answered 429 until the minute is over, good ones are not. 0: any number.',
    ),
  AMBIENT_SESSION_IDLE_MINUTES: z.coerce
    .number()
    .int()
    .min(5)
    .max(525_600)
    .default(1_440)
    .describe('A browser session that is not used for so long is over, in minutes.'),
  AMBIENT_SESSION_HOURS: z.coerce
    .number()
    .int()
    .min(1)
    .max(8_760)
    .default(168)
    .describe('A browser session is over after so long, however much it is used, in hours.'),
  AMBIENT_OIDC_ISSUER: z
    .url({ protocol: /^https?$/ })
    .refine((value) => value.startsWith('https:') || /^http:\/\/(127\.|localhost[:/]|localhost$|\[::1\])/.test(value), {
      error: 'must be https, unless the provider is on this machine',
    })
    .optional()
    .describe(
      'The OpenID Connect provider that people sign in with, as it calls itself: https://accounts.google.com. Unset: people sign in with their keys.',
    ),
  AMBIENT_OIDC_CLIENT_ID: key.optional().describe('As which client this server is registered there.'),
  AMBIENT_OIDC_CLIENT_SECRET: key
    .optional()
    .describe('The secret of that client. Unset: a client without one, by PKCE alone.'),
  AMBIENT_OIDC_CLIENT_SECRET_FILE: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe('Path of a file with that secret, instead of it. The server reads it at its start.'),
  AMBIENT_OIDC_SCOPES: z
    .string()
    .min(1)
    .default('openid email profile')
    .describe('What the provider is asked for; some want one more for groups.'),
  AMBIENT_OIDC_ALLOWED_DOMAINS: z
    .string()
    .default('')
    .describe(
      'Domains of the e-mail addresses that may sign in, separated by commas. Empty: whoever the provider lets sign in, which with a public one is everybody.',
    ),
  AMBIENT_OIDC_UNVERIFIED_EMAIL: z
    .enum(['deny', 'allow'])
    .default('deny')
    .describe(
      'Whether an address is believed of which the provider does not say if it has verified it. Only for one that gives addresses to nobody but their owners.',
    ),
  AMBIENT_OIDC_DEFAULT_ROLE: z
    .enum(['admin', 'member', 'viewer', 'none'])
    .default('none')
    .describe(
      'Role of people who sign in for the first time and are in no team yet. `none`: only people get in whom an admin has added to a team, or a group has.',
    ),
  AMBIENT_OIDC_DEFAULT_TEAM: z
    .string()
    .regex(/^(default|[A-Za-z0-9]{22})$/, 'must be the uid of a team')
    .default('default')
    .describe('Uid of the team that they get this role in.'),
  AMBIENT_OIDC_GROUPS_CLAIM: z.string().min(1).default('groups').describe('The claim that has a person’s groups.'),
  AMBIENT_OIDC_ROLES: z
    .string()
    .default('')
    .describe(
      'Roles that groups of the provider give, separated by commas, each `group=role` in the default team or `group=team:role`. Whoever is in none of the groups of a team that is named here is not in that team, from their next sign-in on.',
    ),
  AMBIENT_API_KEY: key
    .optional()
    .describe('The key the command line uses. Unset: the admin key from the data directory.'),
  AMBIENT_TEAM: z
    .string()
    .regex(/^(default|[A-Za-z0-9]{22})$/, 'must be the uid of a team')
    .optional()
    .describe('Uid of the team that the command line speaks of, for whoever is in several. Unset: the first one.'),
  AMBIENT_LOG: z
    .enum(['trace', 'debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Least level of the log lines that are written.'),
  AMBIENT_METRICS_PORT: port
    .default(8425)
    .describe(
      'Port at which a process that has no API serves Prometheus metrics, under /metrics. `ambient start` takes this one and the three after it: for itself, worker, host and gateway. 0: none are served there. The server has /metrics on its own port.',
    ),
  AMBIENT_METRICS_BIND: z.string().min(1).default('127.0.0.1').describe('Address that AMBIENT_METRICS_PORT is on.'),
  AMBIENT_METRICS_KEY: key
    .min(16)
    .optional()
    .describe(
      'Bearer token for reading /metrics, at least 16 characters. Unset: the server wants the admin key, and AMBIENT_METRICS_PORT asks nobody who they are.',
    ),
  OTEL_EXPORTER_OTLP_ENDPOINT: url
    .optional()
    .describe(
      'Where OpenTelemetry traces go, by OTLP over HTTP. Unset: none are made. Further OTEL_… variables are read by its library: sampler, batches, resource attributes.',
    ),
  OTEL_EXPORTER_OTLP_HEADERS: z.string().min(1).optional().describe('What is sent with them: name=value,name=value.'),
  OTEL_EXPORTER_OTLP_PROTOCOL: z
    .enum(['http/protobuf', 'http/json'])
    .default('http/protobuf')
    .describe('How they are written.'),
  OTEL_SERVICE_NAME: z
    .string()
    .min(1)
    .optional()
    .describe('What traces are said to come from. Unset: ambient-server, ambient-worker, ambient-host.'),
  AMBIENT_TURN_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_080)
    .default(360)
    .describe('Longest time one turn of an agent may take, in minutes.'),
  AMBIENT_RUN_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_440)
    .describe(
      'Longest time all turns of one execution may take together, in minutes. Waiting for people does not count.',
    ),
  AMBIENT_CREDITS: z
    .enum(['count', 'enforce'])
    .default('count')
    .describe(
      'Whether credits are only counted, or also needed: with `enforce`, runs of a team that has too few are not started, and at zero those that run are paused until it is given more. The server and the gateway read it.',
    ),
  AMBIENT_START_CREDITS: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(20)
    .describe('Credits that a team needs for a run to be started, where they are enforced.'),
  AMBIENT_CREDITS_PER_DOLLAR: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(100)
    .describe(
      'How many credits are charged for what costs a US dollar. The server and the gateway need the same; a change counts for what is charged from then on.',
    ),
  AMBIENT_CPU_HOUR_USD: price
    .default(0.04)
    .describe('What a processor of a sandbox costs for an hour, in US dollars. The server reads it.'),
  AMBIENT_GIB_HOUR_USD: price
    .default(0.005)
    .describe('What a GiB of memory of a sandbox costs for an hour, in US dollars. The server reads it.'),
  AMBIENT_BUDGET_TIME_ZONE: z
    .string()
    .default('UTC')
    .refine((zone) => canonicalTimeZone(zone) !== null, { error: 'must be the name of a time zone' })
    .describe(
      'Where the months of budgets and statements begin, such as Europe/Berlin. The server and the gateway need the same.',
    ),
  AMBIENT_QUESTION_MINUTES: z.coerce
    .number()
    .min(0)
    .max(10_080)
    .default(30)
    .describe(
      'How long a question keeps its sandbox waiting for the answer, in minutes. After that the sandbox is given up and the workspace kept; the answer, whenever it comes, is told to the agent in another sandbox.',
    ),
  AMBIENT_SKILLS_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(525_600)
    .default(60)
    .describe(
      'The repositories of environments are read for skills again after this long, in minutes; and whenever an environment changes or was built.',
    ),
  AMBIENT_HOST_LOST_SECONDS: z.coerce
    .number()
    .int()
    .min(5)
    .max(86_400)
    .default(300)
    .describe(
      'A host that does not take up its work for this long is lost, in seconds: its runs go on on another host, from their last checkpoint. With work in hand it is missed after 30 s without a heartbeat, and this counts from then on.',
    ),
  AMBIENT_ATTEMPTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(100)
    .default(3)
    .describe('How often a message is given to an agent in all, when its host or its sandbox is lost with it.'),
  AMBIENT_SCHEDULE_FAILURES: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000)
    .default(10)
    .describe(
      'A schedule is paused after so many failures in a row, where it does not say itself. 0: never. The server reads it.',
    ),
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
  AMBIENT_SPARE_NETWORKS: z.coerce
    .number()
    .int()
    .min(0)
    .max(100)
    .default(2)
    .describe(
      'How many networks of containers are made ahead, while no sandbox is started: one that joins such a network starts in half of the time. Each takes a container that does nothing, some 12 MiB of memory. Only with the default runtime, and for environments that name no hosts. 0: none.',
    ),
  AMBIENT_DOCKER_RUNTIME: z
    .string()
    .regex(/^[\w.-]{1,100}$/, 'must be the name of a runtime of the Docker daemon')
    .optional()
    .describe(
      "Runtime that runs the containers, as the Docker daemon names it: `runsc` for gVisor. Unset: the daemon's default.",
    ),
  AMBIENT_DIRECT_SANDBOX: z
    .enum(['none', 'bwrap'])
    .default('none')
    .describe(
      "What is put around agents that run as processes of this machine: nothing, or bubblewrap, by which they see the system's directories and their own run's, and no other file and process of this machine.",
    ),
  AMBIENT_EGRESS: z
    .enum(['public', 'open'])
    .default('public')
    .describe(
      'What containers reach beside the model gateway and name servers: the internet (`public`), or private networks, metadata services and this machine as well (`open`). An environment may name the only hosts that it reaches.',
    ),
  AMBIENT_EGRESS_ALLOW: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every(isAddressRange), {
      error: 'must be addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Private addresses and ranges that containers reach all the same, separated by commas: 10.1.2.0/24,192.168.1.10. An address of this machine itself is opened by that address, never by a range.',
    ),
  AMBIENT_DISK_GB: z.coerce
    .number()
    .min(0.01)
    .max(1_000_000)
    .default(20)
    .describe(
      'Most of the disk that one run may take, in GiB: workspace, home, what it has written elsewhere, and what its agent has printed. It is looked at every 5 s while the run is at work, and at once when that much of the disk is gone; beyond it the run ends as FAILED, `disk_limit`.',
    ),
  AMBIENT_TRANSCRIPT_MB: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(512)
    .describe(
      'Largest transcript of one run, in MiB, over all its executions. Beyond it the run ends as FAILED, `transcript_limit`, with all that was stored, and what the agent has done is kept. The server reads it.',
    ),
  AMBIENT_IMAGES_GB: z.coerce
    .number()
    .min(0)
    .max(1_000_000)
    .default(100)
    .describe(
      'Most of the disk that container images take which this host has fetched, in GiB. Beyond it, those that were unused longest are removed. Never the default image, one in use, or one that was brought onto the machine in another way.',
    ),
  AMBIENT_IMAGE_BUILD_MINUTES: z.coerce
    .number()
    .min(0)
    .max(50)
    .default(30)
    .describe(
      'Longest time that building the image of a devcontainer.json may take, in minutes. The steps of a Dockerfile run as root of their containers: 0 builds none.',
    ),
  AMBIENT_IMAGE_BUILD_NETWORK: z
    .enum(['sandbox', 'none'])
    .default('sandbox')
    .describe('What the steps of a Dockerfile reach: what sandboxes reach, or nothing.'),
  AMBIENT_ROOT_USER: z
    .enum(['deny', 'allow'])
    .default('deny')
    .describe(
      'Whether a sandbox may run as root where a devcontainer.json says so, without any capabilities. `deny`: it runs as the usual user, and says so.',
    ),
  // A full clone of 50,000 files and 5,000 commits took under a minute; the largest known take some ten times that.
  AMBIENT_CLONE_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(50)
    .default(30)
    .describe('Longest time that one clone of a repository may take, in minutes. Then it is tried again.'),
  AMBIENT_MIRRORS_GB: z.coerce
    .number()
    .min(0)
    .max(1_000_000)
    .default(20)
    .describe(
      'Most of the disk that this host keeps copies of repositories on, in GiB, from which it clones. Beyond it, those that were used longest ago are removed. 0: none are kept, and each clone comes whole from its server.',
    ),
  AMBIENT_GIT_CREDENTIALS: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe(
      "Path of a file with this host's tokens for private repositories, each on a line `https://user:token@host/path`: they are used for repositories below that path, the longest path first. It is read for each clone, and no run sees it.",
    ),
  AMBIENT_GIT_SSH_KEY: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe(
      "Path of the private key, without a passphrase, by which this host gets at repositories over ssh. Unset: the keys of the host's own user.",
    ),
  AMBIENT_GIT_KNOWN_HOSTS: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe(
      'Path of a known_hosts file with the ssh keys of the servers that this host gets repositories from; no other server is believed. Unset: the key that a server shows first is kept in the data directory, and holds from then on.',
    ),
  AMBIENT_SNAPSHOTS_GB: z.coerce
    .number()
    .min(0)
    .max(1_000_000)
    .default(100)
    .describe(
      'Most of the disk that prepared environments of this host take, in GiB. Beyond it, those that were used longest ago are removed. Never one that the files of a run lie over.',
    ),
  AMBIENT_PUSH_CHECK_MINUTES: z.coerce
    .number()
    .min(0)
    .max(1_440)
    .default(5)
    .describe(
      'How often a host asks for new commits of the environments that its runs have used within a day, in minutes. One whose set-up would run again for them is built anew. 0: never.',
    ),
  AMBIENT_RESULT_MB: z.coerce
    .number()
    .int()
    .min(1)
    .max(256)
    .default(16)
    .describe('Largest diff or bundle of one repository that is kept with a run, in MiB.'),
  AMBIENT_CHECKPOINT_MB: z.coerce
    .number()
    .int()
    .min(1)
    .max(CHECKPOINT_MB)
    .default(100)
    .describe(
      'Largest checkpoint of one run, in MiB: what the agent has changed, files beside the repositories, what git ignores, and its own state. It is kept in Postgres, so that another host can go on with the run, and other runs can begin from it.',
    ),
  AMBIENT_CHECKPOINTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000)
    .default(20)
    .describe(
      'Checkpoints of one run that are kept, the newest among them: one after each turn, for as long as its workspace. The oldest go first.',
    ),
  AMBIENT_CHECKPOINTS_MB: z.coerce
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(256)
    .describe(
      'Most that the checkpoints of one run take in Postgres together, compressed, in MiB. The oldest go first; the newest stays, whatever its size.',
    ),
  AMBIENT_ARTIFACT_MB: z.coerce
    .number()
    .int()
    .min(1)
    .max(256)
    .default(25)
    .describe('Largest file that an agent may hand over as an artifact, in MiB.'),
  AMBIENT_ARTIFACTS: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(200)
    .describe('Artifacts that one run may hand over.'),
  AMBIENT_ATTACHMENT_MB: z.coerce
    .number()
    .min(0.1)
    .max(25)
    .default(5)
    .describe('Largest file that may come with a message, in MiB. A request has room for five of 5 MiB.'),
  AMBIENT_ARTIFACT_DAYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(100_000)
    .default(0)
    .describe(
      'How long the contents of artifacts and attachments are kept after their run has ended, in days. 0: as long as the run.',
    ),
  AMBIENT_LINK_MINUTES: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_080)
    .default(60)
    .describe('How long a link to an artifact is good, in minutes.'),
  AMBIENT_VAULT_KEY: key
    .refine((text) => keyWords(text).length > 0 && keyWords(text).every(isVaultKey), {
      error: 'must be 32 bytes in base64 or hexadecimal, or several such keys. Make one: openssl rand -base64 32',
    })
    .optional()
    .describe(
      'The key that secrets are kept under: 32 bytes in base64 or hexadecimal (`openssl rand -base64 32`). Several, separated by commas: the first one seals, all of them open. The server and the gateway need the same.',
    ),
  AMBIENT_VAULT_KEY_COMMAND: z
    .string()
    .min(1)
    .optional()
    .describe(
      'A shell command that prints these keys, of a key management service for instance. It is run once when the server and the gateway start, and may take 30 s.',
    ),
  AMBIENT_VAULT_KEY_FILE: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe(
      'Path of a file with these keys, one on a line. Unset, without the two above: a file in the data directory, made once with mode 600. Without it, what is sealed in the database cannot be opened: back it up, in another place than the database.',
    ),
  AMBIENT_LINK_KEY: key
    .min(16)
    .optional()
    .describe(
      'What links are signed with, and the secrets of webhooks are made from, at least 16 characters; servers beside one another need the same. Unset: made once, kept like the admin key.',
    ),
  AMBIENT_S3_BUCKET: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Bucket of an S3-compatible object store for the contents of artifacts and attachments. Unset: they are files in the data directory.',
    ),
  AMBIENT_S3_ENDPOINT: url
    .default('https://s3.amazonaws.com')
    .describe('Where that object store is. Whoever fetches an artifact is sent there.'),
  AMBIENT_S3_REGION: z.string().min(1).default('us-east-1').describe('Its region.'),
  AMBIENT_S3_PREFIX: z
    .string()
    .regex(/^[\w./-]*$/, 'must be letters, digits, dots, dashes, underscores and slashes')
    .default('')
    .describe('What the names of objects begin with there, such as ambient/.'),
  AMBIENT_S3_ACCESS_KEY_ID: key.optional().describe('Key for that object store.'),
  AMBIENT_S3_SECRET_ACCESS_KEY: key.optional().describe('Its secret.'),
  AMBIENT_CHILD_DEPTH: z.coerce
    .number()
    .int()
    .min(0)
    .max(100)
    .default(5)
    .describe('How far a run may be below the first one, by parent_run_id. 0: no run begins another one.'),
  AMBIENT_CHILDREN: z.coerce
    .number()
    .int()
    .min(0)
    .max(10_000)
    .default(50)
    .describe('Runs that one run may begin, by its agent or by parent_run_id.'),
  AMBIENT_GITHUB_TOKEN: key
    .optional()
    .describe(
      'Token that opens pull requests on GitHub, and by which the git broker gets at repositories there for the runs of all teams, where nothing is stored for theirs. For other servers `host=token` or `https://host/path=token`; several of them separated by commas.',
    ),
  AMBIENT_GITHUB_TOKEN_FILE: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe('Path of a file with the same, each on a line. It is read for each use.'),
  AMBIENT_GITLAB_TOKEN: key
    .optional()
    .describe('The same for merge requests and repositories on GitLab, in the same forms. It needs the scope `api`.'),
  AMBIENT_GITLAB_TOKEN_FILE: z
    .string()
    .min(1)
    .optional()
    .transform((path) => (path === undefined ? undefined : resolve(path)))
    .describe('Path of a file with the same, each on a line. It is read for each use.'),
  AMBIENT_WEBHOOK_ALLOW: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every(isAddressRange), {
      error: 'must be addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Private addresses and ranges to which webhooks are delivered all the same, separated by commas. An address of this machine itself is opened by that address, never by a range.',
    ),
  AMBIENT_MCP_ALLOW: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every(isAddressRange), {
      error: 'must be addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Private addresses and ranges at which the gateway reaches MCP servers of runs, separated by commas, beside the internet. An address of its own machine is opened by that address, never by a range.',
    ),
  AMBIENT_WEBHOOK_HOURS: z.coerce
    .number()
    .min(0)
    .max(720)
    .default(24)
    .describe('How long a delivery of a webhook is tried again, in hours.'),
  AMBIENT_WEBHOOK_DISABLE_DAYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(365)
    .default(3)
    .describe('A webhook at which nothing has arrived for so long is disabled, in days. 0: never.'),
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'must be a URL such as postgres://user:password@host:5432/database' })
    .optional()
    .describe('Postgres to use. Unset: the embedded one.'),
  AMBIENT_POSTGRES_PORT: port.default(8422).describe('Port of the embedded Postgres.'),
  TEMPORAL_ADDRESS: z
    .string()
    .regex(/^[^\s:]+:\d+$/, 'must be host:port, such as 127.0.0.1:7233')
    .optional()
    .describe('Temporal server to use. Unset: the embedded one.'),
  TEMPORAL_NAMESPACE: z.string().min(1).default('default').describe('Temporal namespace.'),
  AMBIENT_TEMPORAL_PORT: port.default(8423).describe('Port of the embedded Temporal server.'),
  AMBIENT_TEMPORAL_UI_PORT: port.default(8424).describe('Port of its web UI.'),
  AMBIENT_MODELS_FILE: z
    .string()
    .min(1)
    .transform((path) => resolve(path))
    .optional()
    .describe(
      'A JSON file of models and prices, which replaces those that are known or adds to them. The server and the gateway read it when they start.',
    ),
  AMBIENT_UNPRICED_MODELS: z
    .enum(['refuse', 'allow'])
    .default('refuse')
    .describe(
      'What the gateway does with calls whose price is unknown in runs that a budget or credits limit: they would cost nothing there. Without a limit they go out always.',
    ),
  AMBIENT_GIT_BROKER_URL: url
    .optional()
    .describe(
      'Where this host itself reaches the gateway, for repositories. Unset: by the address that its sandboxes have for it.',
    ),
  AMBIENT_GIT_ALLOW: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every(isAddressRange), {
      error: 'must be addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Private addresses and ranges at which the git broker reaches repositories all the same, separated by commas. An address of this machine itself is opened by that address, never by a range. The gateway and the worker read it.',
    ),
  AMBIENT_PROVIDER_ALLOW: z
    .string()
    .default('')
    .refine((value) => entriesOf(value).every(isAddressRange), {
      error: 'must be addresses and ranges such as 10.1.2.0/24, separated by commas',
    })
    .describe(
      'Private addresses and ranges, separated by commas, at which the model endpoints of teams may be, beside the internet. An address of the gateway’s own machine is opened by that very address.',
    ),
  AMBIENT_CREDENTIAL_BINDING: z
    .enum(['sandbox', 'off'])
    .default('sandbox')
    .describe(
      'Whether the credential by which a sandbox calls models is good from inside of it alone. `off` on a host whose sandboxes reach the gateway from changing addresses. Read by hosts.',
    ),
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
  const problems = new Map(parsed.error.issues.map((issue) => [String(issue.path[0]), issueWords(issue)]))
  const lines = [...problems].map(([name, words]) => `  ${name} ${wordsOf(name) ?? words}.`)
  throw new ConfigError(
    `These settings do not fit:\n${lines.join('\n')}\ndocs/settings.md has a table of all settings.`,
  )
}

/** All that a setting may be, where its schema tells: more than what a single check says that failed. */
function wordsOf(name: string): string | null {
  const schema = Settings.shape[name as keyof typeof Settings.shape]
  // An absent setting is no failure; a port's or an address's own words come with the issue.
  const { type, minimum, maximum, enum: words } = z.toJSONSchema(schema, { unrepresentable: 'any' })
  if (words !== undefined) return `must be ${either(words.map(String))}`
  if (type !== 'integer' && type !== 'number') return null
  const number = type === 'integer' ? 'a whole number' : 'a number'
  const hasMaximum = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER
  return hasMaximum ? `must be ${number} from ${minimum} to ${maximum}` : `must be ${number}, ${minimum} or more`
}

/** Variables that are ours without being settings of a server: what `bin/ambient` tells, and what compose files use. */
const otherNames =
  /^AMBIENT_(TYPED|RUN|MCP_URL|MCP_TOKEN|JOB_FILES|API_ADDRESS|DATABASE_PASSWORD|SANDBOX_SUBNET|SANDBOX_GATEWAY|OUTSIDE_SUBNET|SERVER_IMAGE)$/

/** Variables that look like settings and are none, each with the setting that may have been meant. */
export function unknownSettings(
  env: Readonly<Record<string, string | undefined>> = process.env,
): { name: string; meant: string | null }[] {
  const ours = 'AMBIENT_'
  const known = Object.keys(Settings.shape).filter((name) => name.startsWith(ours))
  const ends = known.map((name) => name.slice(ours.length))
  return Object.keys(env)
    .filter((name) => name.startsWith(ours) && !known.includes(name) && !otherNames.test(name))
    .map((name) => {
      const end = nearest(name.slice(ours.length), ends)
      return { name, meant: end === null ? null : ours + end }
    })
}

/** What containers of this host may reach. */
export const egressPolicy = (config: Pick<Config, 'AMBIENT_EGRESS' | 'AMBIENT_EGRESS_ALLOW'>) => ({
  mode: config.AMBIENT_EGRESS,
  allow: entriesOf(config.AMBIENT_EGRESS_ALLOW),
})

/** As Express takes them: whose X-Forwarded-For is believed. */
export const trustedProxies = (config: Pick<Config, 'AMBIENT_TRUST_PROXY'>): string[] =>
  entriesOf(config.AMBIENT_TRUST_PROXY)

function entriesOf(text: string): string[] {
  const entries = text.split(',').map((entry) => entry.trim())
  return entries.filter((entry) => entry !== '')
}

function isAddressRange(entry: string): boolean {
  const [address = '', bits, ...rest] = entry.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/** Where webhooks are delivered beside the internet. */
export const webhookAllowed = (config: Pick<Config, 'AMBIENT_WEBHOOK_ALLOW'>): string[] =>
  entriesOf(config.AMBIENT_WEBHOOK_ALLOW)

/** What holds for credits and budgets. */
export const moneyRules = (config: Config): MoneyRules => ({
  creditsPerDollar: config.AMBIENT_CREDITS_PER_DOLLAR,
  timeZone: config.AMBIENT_BUDGET_TIME_ZONE,
  enforced: config.AMBIENT_CREDITS === 'enforce' ? { microCreditsToStart: config.AMBIENT_START_CREDITS * MICRO } : null,
  compute: { cpuHour: config.AMBIENT_CPU_HOUR_USD * MICRO, gibHour: config.AMBIENT_GIB_HOUR_USD * MICRO },
  usualSize: { cpus: config.AMBIENT_CPUS, memoryMb: config.AMBIENT_MEMORY_MB },
})

/** Where the model endpoints of teams may be beside the internet. */
export const providerAllowed = (config: Pick<Config, 'AMBIENT_PROVIDER_ALLOW'>): string[] =>
  entriesOf(config.AMBIENT_PROVIDER_ALLOW)

/** Where the git broker reaches repositories beside the internet. */
export const gitAllowed = (config: Pick<Config, 'AMBIENT_GIT_ALLOW'>): string[] => entriesOf(config.AMBIENT_GIT_ALLOW)

/** Where MCP servers are reached beside the internet. */
export const mcpAllowed = (config: Pick<Config, 'AMBIENT_MCP_ALLOW'>): string[] => entriesOf(config.AMBIENT_MCP_ALLOW)

/** Where things are in the data directory. */
export function dataPaths(config: Config) {
  const data = config.AMBIENT_DATA
  return {
    adminKey: join(data, 'admin-key'),
    workerKey: join(data, 'worker-key'),
    // With what it opens, where that is all that is kept.
    linkKey: join(data, 'contents', 'link-key'),
    contents: join(data, 'contents'),
    hostId: join(data, 'host-id'),
    hostSecret: join(data, 'host-secret'),
    postgres: join(data, 'postgres'),
    temporal: join(data, 'temporal'),
    bin: join(data, 'bin'),
    logs: join(data, 'logs'),
    agents: join(data, 'agents'),
    runs: join(data, 'runs'),
    snapshots: join(data, 'snapshots'),
    cache: join(data, 'cache'),
    git: join(data, 'git'),
    mirrors: join(data, 'mirrors'),
  }
}

/** Where the server is, for the command line and the hosts. */
export const serverUrl = (config: Pick<Config, 'AMBIENT_URL' | 'AMBIENT_PORT'>): string =>
  config.AMBIENT_URL ?? `http://127.0.0.1:${config.AMBIENT_PORT}`

/** Where browsers find the server. */
export const publicUrl = (config: Pick<Config, 'AMBIENT_PUBLIC_URL' | 'AMBIENT_URL' | 'AMBIENT_PORT'>): string =>
  config.AMBIENT_PUBLIC_URL ?? serverUrl(config)

/** Where a person finds a run. */
export const runLink = (config: Parameters<typeof publicUrl>[0], runId: string): string =>
  `${publicUrl(config)}/api/v1/agent/runs/${runId}`

/** The command as the person typed it, for hints at what to type next; bin/ambient tells. */
export const typed: string = process.env.AMBIENT_TYPED || 'ambient'

/** A variable of whoever calls the command line, for `--env NAME`. */
export const callerVariable = (name: string): string | undefined => process.env[name]

/** What this process was started with, for the programs that it starts in turn. */
export const inheritedEnvironment = (): Record<string, string | undefined> => ({ ...process.env })
