// Secrets that are planted for a run, and the places in which a test looks for them.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { execa } from 'execa'
import { sql } from 'kysely'
import { onTestFinished } from 'vitest'
import { contentSeals } from '../../secrets/vault/contents.ts'
import { createVault } from '../../secrets/vault/vault.ts'
import { createDatabase, type Db } from '../../store/database.ts'
import { workflowId } from '../../workflows/contract.ts'
import { sampleRepository } from './repository.ts'
import type { Stack } from './stack.ts'
import { temporalBinary } from './temporal.ts'

export interface Planted {
  environment: string
  agent: string
  names: string[]
  values: string[]
  /** Of the values that the set-up has. */
  used: string
}

/**
 * Secrets of every scope, and a stored environment that is prepared with a set-up which uses them and leaves none.
 * `control` is in a layer of the image that its Dockerfile makes, where hosts have images. What Docker says of the steps
 * has it {@link reversed} alone: so it is found only by who looks into the layers.
 */
export async function plant(stack: Stack, { control, image }: { control: string; image: boolean }): Promise<Planted> {
  const value = (name: string) => `${name} "${randomUUID()}"/ü+'$`
  const make = async <T extends { uid: string }>(route: string, body: object) =>
    (await stack.call<T>('POST', `/api/v1/agent/${route}`, body)).body.uid
  const repository = await sampleRepository()
  onTestFinished(() => repository.remove())
  if (image) {
    const directory = join(repository.path, '.devcontainer')
    await mkdir(directory)
    const steps = `FROM ambient-base:latest\nRUN env >/of-the-build && echo ${reversed(control)} | rev >>/of-the-build\n`
    await writeFile(join(directory, 'Dockerfile'), steps)
    await writeFile(join(directory, 'devcontainer.json'), '{ "build": { "dockerfile": "Dockerfile" } }')
    await repository.git('add', '.')
    await repository.git('commit', '--quiet', '--message', 'An image')
  }
  const inline = value('inline')
  const config = {
    name: `planted ${randomUUID()}`,
    env: { PLANTED_INLINE: inline },
    repos: [{ url: repository.url, path: 'project' }],
    setup_commands: [
      'printf %s "$PLANTED_INLINE$PLANTED_TEAM" | sha256sum >"$HOME/used"; echo "set-up has $PLANTED_ENVIRONMENT"',
    ],
  }
  // It is built once there is something to give to it.
  const environment = await make('environments', { ...config, prepare: false })
  const agent = await make('identities', { name: `Planted ${randomUUID()}` })
  const own = randomUUID().slice(0, 8).toUpperCase()
  const ofAgent = { scope: 'agent', agent_uid: agent }
  const secrets = [
    { name: 'PLANTED_TEAM', value: value('team') },
    { name: `PLANTED_${own}`, value: value('person'), scope: 'person' },
    { name: 'PLANTED_ENVIRONMENT', value: value('environment'), scope: 'environment', environment_id: environment },
    { name: 'PLANTED_AGENT', value: value('agent'), ...ofAgent },
    { name: 'PLANTED_FILE', value: value('file'), kind: 'file', path: '~/.planted/token', ...ofAgent },
  ]
  for (const secret of secrets) await make('secrets', secret)
  onTestFinished(async () => {
    const { body } = await stack.call<{ secrets: { uid: string }[] }>('GET', '/api/v1/agent/secrets')
    for (const { uid } of body.secrets) await stack.call('DELETE', `/api/v1/agent/secrets/${uid}`)
  })
  const prepared = { ...config, prepare: true, wait_for_build: true }
  const { status } = await stack.call('PUT', `/api/v1/agent/environments/${environment}`, prepared)
  if (status !== 200) throw new Error(`PUT /agent/environments: ${status}`)
  return {
    environment,
    agent,
    names: secrets.map(({ name }) => name),
    values: [inline, ...secrets.map(({ value: planted }) => planted)],
    used: sha256(`${inline}${secrets[0]?.value}`),
  }
}

/** Prints all planted values in every way, has them in a file that it commits and in one that it keeps, says them by a tool, and waits. */
export const PRINT_ALL = `
node=$(command -v /opt/ambient/node || command -v node)
test "$(stat -c %a "$PLANTED_FILE")" = 600 && test "$(cat ~/.planted/token)" = "$(cat "$PLANTED_FILE")" || exit 4
exec "$node" -e '
  const { createHash } = require("node:crypto")
  const { existsSync, readFileSync, writeFileSync } = require("node:fs")
  const { execFileSync } = require("node:child_process")
  const control = process.argv[1]
  const names = Object.keys(process.env).filter((name) => name.startsWith("PLANTED_"))
  const values = names.map((name) => name === "PLANTED_FILE" ? readFileSync(process.env[name], "utf8") : process.env[name])
  const quote = (text) => "\\x27" + text.replaceAll("\\x27", "\\x27\\\\\\x27\\x27") + "\\x27"
  const ways = (text) => [
    text, JSON.stringify(text), JSON.stringify(JSON.stringify({ text })), encodeURIComponent(text),
    new URLSearchParams({ text }).toString(), quote(text),
    ...["", "x", "xy"].map((before) => Buffer.from(before + text + "tail").toString("base64")),
    Buffer.from(text).toString("base64url"), Buffer.from(text).toString("hex"),
    Buffer.from(text).toString("hex").toUpperCase(),
    ...(Buffer.from("a line before " + text + " and after it").toString("base64").match(/.{1,76}/g)),
  ]
  console.log(control)
  for (const value of values) {
    console.log("sha", createHash("sha256").update(value).digest("hex"))
    for (const way of ways(value)) console.log(way)
    console.error("to stderr", value)
  }
  const all = [control, ...values.flatMap(ways)].join("\\n")
  writeFileSync("../kept.txt", all)
  writeFileSync("leak.txt", all)
  execFileSync("git", ["add", "leak.txt"])
  execFileSync("git", ["commit", "-q", "-m", "Keep " + values[0]])
  const say = (name, args) => fetch(process.env.AMBIENT_MCP_URL, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", authorization: "Bearer " + process.env.AMBIENT_MCP_TOKEN },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args } }),
  }).then(async (answer) => console.log("tool", answer.status, await answer.text()))
  say("post_progress", { message: "I have " + values.join(" and ") }).then(() => {
    console.log("held")
    const timer = setInterval(() => existsSync("release") && clearInterval(timer), 20)
  })
' "$1"
`

export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** Of one value, what is looked for: what of its encodings is the same wherever it stands. */
export function encodingsOf(value: string): string[] {
  const base64 = [0, 1, 2].map((before) => {
    const text = Buffer.from('x'.repeat(before) + value).toString('base64')
    return text.slice(4, -4).slice(0, 40)
  })
  const hex = Buffer.from(value).toString('hex')
  return [
    ...[value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value), hex, hex.toUpperCase(), ...base64],
    ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    // The part of it that none else has, as no encoding of texts changes it.
    ...(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(value)?.slice(0, 1) ?? []),
  ]
}

export const reversed = (text: string) => [...text].reverse().join('')

export const found = (text: string, needles: readonly string[]) => needles.filter((needle) => text.includes(needle))

export async function filesWith(needles: readonly string[], directories: readonly string[]): Promise<string[]> {
  const input = needles.join('\n')
  const { stdout } = await execa('grep', ['-rlaF', '-f', '-', ...directories], { input, reject: false })
  return stdout.split('\n').filter((line) => line !== '')
}

/** Which of them are in an image: `told` in what Docker says of it; `saved` in the files of all of its layers, and there again. */
export async function foundInImage(image: string, needles: readonly string[]) {
  const history = ['history', '--no-trunc', '--format', '{{json .}}', image]
  const told = await Promise.all([execa('docker', ['image', 'inspect', image]), execa('docker', history)])
  // What comes in here is a socket, which grep cannot open by its name; and it ends with 1 where it finds nothing.
  const look = `set -o pipefail; exec 3< <(cat)
    docker save "$1" </dev/null | { grep -aoF -f /dev/fd/3 || test $? = 1; } | sort -u`
  const options = { input: needles.join('\n'), env: { LC_ALL: 'C' } }
  const { stdout } = await execa('bash', ['-c', look, 'bash', image], options)
  return {
    told: found(told.map((each) => each.stdout).join('\n'), needles),
    saved: stdout.split('\n').filter((each) => each !== ''),
  }
}

/** The workflow's history, with what its payloads say. */
export async function historyOf(stack: Stack, runId: string): Promise<string> {
  const address = `127.0.0.1:${stack.env.AMBIENT_TEMPORAL_PORT}`
  const show = ['workflow', 'show', '--address', address, '-w', workflowId(runId), '--output', 'json']
  return JSON.stringify(decodePayloads(JSON.parse((await execa(temporalBinary(), show)).stdout)))
}

/** Payloads are base64 in a history's JSON; what they hold is what is looked at. */
function decodePayloads(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decodePayloads)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) =>
      name === 'data' && typeof inner === 'string'
        ? [name, Buffer.from(inner, 'base64').toString('utf8')]
        : [name, decodePayloads(inner)],
    ),
  )
}

async function withDatabase<T>(stack: Stack, work: (db: Db) => Promise<T>): Promise<T> {
  const password = (await readFile(join(stack.data, 'postgres', 'password'), 'utf8')).trim()
  const at = `127.0.0.1:${stack.env.AMBIENT_POSTGRES_PORT}`
  const { db, close } = createDatabase(`postgres://ambient:${password}@${at}/ambient`)
  try {
    return await work(db)
  } finally {
    await close()
  }
}

/** Of every table; bytes in hexadecimal. */
export const everyRow = (stack: Stack): Promise<string> =>
  withDatabase(stack, async (db) => {
    const tables = await sql<{ name: string }>`
      select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public'
    `.execute(db)
    const rows: string[] = []
    for (const { name } of tables.rows) {
      const all = await sql<{ row: string }>`select each::text as row from ${sql.raw(name)} as each`.execute(db)
      rows.push(...all.rows.map(({ row }) => row.replaceAll('""', '"').replaceAll('\\\\', '\\')))
    }
    return rows.join('\n')
  })

/** The run's newest checkpoint as it lies in the database, and as it is once it is opened with the vault's key. */
export const newestCheckpoint = (stack: Stack, runId: string): Promise<{ stored: Buffer; opened: string }> =>
  withDatabase(stack, async (db) => {
    const { id, sealed_key: key } = await db
      .selectFrom('checkpoints')
      .select(['id', 'sealed_key'])
      .where('run_id', '=', runId)
      .where('completed_at', 'is not', null)
      .executeTakeFirstOrThrow()
    if (key === null) throw new Error('the checkpoint is not sealed')
    const pieces = await db
      .selectFrom('checkpoint_pieces')
      .select(['number', 'bytes'])
      .where('checkpoint_id', '=', id)
      .orderBy('number')
      .execute()
    const open = contentSeals(await createVault({ AMBIENT_DATA: stack.data } as never)).open(id, key)
    const opened = gunzipSync(Buffer.concat(pieces.map(({ number, bytes }) => open(number, bytes))))
    return { stored: Buffer.concat(pieces.map(({ bytes }) => bytes)), opened: opened.toString('utf8') }
  })
