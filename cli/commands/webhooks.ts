// `ambient webhooks`: whom the server tells of what happens to runs.
import { typed } from '../../config.ts'
import type { WebhookDelivery, WebhookEvent, WebhookFilter, WebhookItem } from '../../domain/webhook.ts'
import type { Api } from '../api/client.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findEnvironment } from '../find-environment.ts'
import { findNamed } from '../find-named.ts'
import { readMetadata } from '../input.ts'
import { table } from '../render/table.ts'
import { clean, oneLine } from '../render/text.ts'
import { createScreen } from '../screen.ts'

interface JsonOption {
  json?: boolean
}

export async function webhooks({ json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const list = await connect().webhooks.list()
  const rows = list.map((webhook) => [
    webhook.uid,
    clean(webhook.name),
    clean(webhook.url),
    webhook.events.join(', '),
    stateOf(webhook),
  ])
  if (json) screen.write(`${JSON.stringify({ webhooks: list })}\n`)
  else if (list.length === 0)
    screen.write(`There is no webhook. Make one: ${typed} webhooks create <name> <url> --event run.succeeded\n`)
  else screen.write(table(['UID', 'NAME', 'URL', 'EVENTS', 'STATE'], rows, screen.style.colours.dim))
  return exitCodes.succeeded
}

const stateOf = ({ enabled, disabled_reason: reason, failing_since: since }: WebhookItem) =>
  enabled ? (since === null ? 'on' : `failing since ${since}`) : oneLine(reason ?? 'off', 100)

export interface WebhookOptions extends JsonOption {
  name?: string
  url?: string
  event?: string[]
  environment?: string[]
  source?: string[]
  metadata?: string[]
  disabled?: boolean
  enabled?: boolean
}

export async function create(name: string, url: string, options: WebhookOptions): Promise<ExitCode> {
  const screen = createScreen()
  if (options.event === undefined) throw usageError('Say of which events it is told: --event run.succeeded')
  const api = connect()
  const made = await api.webhooks.create({
    name,
    url,
    events: options.event as WebhookEvent[],
    filter: await filterOf(api, options),
    enabled: !options.disabled,
  })
  screen.write(options.json ? `${JSON.stringify(made)}\n` : `${made.secret}\n`)
  if (!options.json)
    screen.note(`${made.uid}: its secret is shown this once. It signs every delivery; docs/webhooks.md says how.`)
  return exitCodes.succeeded
}

/** What no option names stays as it is. */
export async function update(given: string, options: WebhookOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const webhook = await findWebhook(api, given)
  const filter = await filterOf(api, options)
  const changed = await api.webhooks.replace(webhook.uid, {
    name: options.name ?? webhook.name,
    url: options.url ?? webhook.url,
    events: (options.event as WebhookEvent[] | undefined) ?? webhook.events,
    filter: Object.keys(filter).length > 0 ? { ...webhook.filter, ...filter } : webhook.filter,
    enabled: options.enabled ? true : options.disabled ? false : webhook.enabled,
  })
  screen.write(options.json ? `${JSON.stringify(changed)}\n` : `${clean(changed.name)} is changed.\n`)
  return exitCodes.succeeded
}

async function filterOf(api: Api, { environment, source, metadata }: WebhookOptions): Promise<WebhookFilter> {
  const uidOf = async (given: string) => (await findEnvironment(api, given)).uid
  return {
    ...(environment !== undefined && { environment_ids: await Promise.all(environment.map(uidOf)) }),
    // The server says which there are.
    ...(source !== undefined && { sources: source as WebhookFilter['sources'] }),
    ...(metadata !== undefined && { metadata: readMetadata(metadata) }),
  }
}

export async function remove(given: string): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid, name } = await findWebhook(api, given)
  await api.webhooks.remove(uid)
  screen.write(`${clean(name)} is deleted.\n`)
  return exitCodes.succeeded
}

export async function renewSecret(given: string, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const renewed = await api.webhooks.renewSecret((await findWebhook(api, given)).uid)
  screen.write(json ? `${JSON.stringify(renewed)}\n` : `${renewed.secret}\n`)
  if (!json) screen.note('It is shown this once. The one before signs nothing any more.')
  return exitCodes.succeeded
}

export async function ping(given: string, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findWebhook(api, given)
  const delivery = await api.webhooks.ping(uid)
  screen.write(json ? `${JSON.stringify(delivery)}\n` : `${delivery.delivery_id}\n`)
  if (!json) screen.note(`It is on its way. What came of it: ${typed} webhooks deliveries ${uid}`)
  return exitCodes.succeeded
}

export async function deliveries(
  given: string,
  { json, limit, cursor }: JsonOption & { limit: number; cursor?: string },
): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { uid } = await findWebhook(api, given)
  const page = await api.webhooks.deliveries(uid, { limit, cursor })
  if (json) screen.write(`${JSON.stringify(page)}\n`)
  else if (page.deliveries.length === 0) screen.write('Nothing was sent yet.\n')
  else
    screen.write(
      table(
        ['ID', 'EVENT', 'RUN', 'STATE', 'TRIES', 'ANSWER', 'TIME'],
        page.deliveries.map(rowOf),
        screen.style.colours.dim,
      ),
    )
  const { has_next_page: more, next_cursor: next } = page.page_info
  if (!json && more)
    screen.note(`There are more: ${typed} webhooks deliveries ${uid} --limit ${limit} --cursor ${next}`)
  return exitCodes.succeeded
}

const rowOf = (delivery: WebhookDelivery): string[] => [
  delivery.delivery_id,
  delivery.event,
  delivery.run_id?.slice(0, 8) ?? '',
  delivery.state,
  String(delivery.attempts),
  delivery.status === null ? oneLine(delivery.error ?? '', 60) : String(delivery.status),
  delivery.created_at,
]

export async function resend(given: string, deliveryId: string, { json }: JsonOption): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const delivery = await api.webhooks.resend((await findWebhook(api, given)).uid, deliveryId)
  screen.write(json ? `${JSON.stringify(delivery)}\n` : 'It is sent again.\n')
  return exitCodes.succeeded
}

const findWebhook = async (api: Api, given: string): Promise<WebhookItem> =>
  findNamed(await api.webhooks.list(), given, { one: 'webhook', all: 'webhooks' }, (webhook) => webhook)
