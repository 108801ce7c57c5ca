// Outbound webhooks: whom to tell of what happens to runs.
import { z } from 'zod'
import * as limits from './limits.ts'
import { cursor, PageInfo, pageLimit } from './page.ts'
import { runSources } from './run-sources.ts'

/** The events of changes of state, by the state; and the others. */
export const stateEvents = {
  QUEUED: 'run.queued',
  PENDING: 'run.pending',
  CLAIMED: 'run.claimed',
  INPROGRESS: 'run.in_progress',
  BLOCKED: 'run.blocked',
  SUCCEEDED: 'run.succeeded',
  FAILED: 'run.failed',
  ERROR: 'run.errored',
  CANCELLED: 'run.cancelled',
} as const

export const webhookEvents = [
  'run.queued',
  'run.pending',
  'run.claimed',
  'run.in_progress',
  'run.blocked',
  'run.succeeded',
  'run.failed',
  'run.errored',
  'run.cancelled',
  'run.pull_request',
  'run.artifact',
  'run.budget',
] as const
export type WebhookEvent = (typeof webhookEvents)[number]

/** What is sent when somebody tries a webhook out; nobody subscribes to it. */
export const PING = 'ping'

const line = (max: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(max)
    .refine((value) => !/\p{Cc}/u.test(value), { error: 'must be one line' })

export const WebhookFilter = z
  .object({
    environment_ids: z
      .array(z.string().min(1).max(100))
      .min(1)
      .max(100)
      .optional()
      .describe('Only runs of one of these stored environments.'),
    sources: z.array(z.enum(runSources)).min(1).max(50).optional().describe('Only runs from one of these.'),
    metadata: z
      .record(z.string().min(1).max(limits.METADATA_KEY_BYTES), z.string().max(limits.METADATA_VALUE_BYTES))
      .refine((map) => Object.keys(map).length <= limits.METADATA_KEYS, {
        error: `more than ${limits.METADATA_KEYS} keys`,
      })
      .optional()
      .describe('Only runs whose metadata has all of these.'),
  })
  .meta({ id: 'WebhookFilter' })
export type WebhookFilter = z.infer<typeof WebhookFilter>

const WebhookUrl = z
  .string()
  .max(2048)
  .refine(
    (text) => {
      const url = URL.parse(text)
      return url !== null && /^https?:$/.test(url.protocol) && url.hostname !== ''
    },
    { error: 'must be a URL: https://… or http://…' },
  )
  .refine((text) => !URL.parse(text)?.username && !URL.parse(text)?.password, {
    error: 'must have no user name and password: deliveries are signed',
  })

/** Body of `POST /agent/webhooks`, and of `PUT`, which replaces everything but the secret. */
export const WebhookConfig = z
  .object({
    name: line(200),
    url: WebhookUrl.describe('Where deliveries are sent, by POST.'),
    events: z
      .array(z.enum(webhookEvents))
      .min(1)
      .max(webhookEvents.length)
      .transform((events) => [...new Set(events)])
      .describe('Of which it is told.'),
    filter: WebhookFilter.default({}),
    enabled: z.boolean().default(true),
  })
  .meta({ id: 'WebhookConfig' })
export type WebhookConfig = z.infer<typeof WebhookConfig>

/** A webhook as it is served. */
export const WebhookItem = z
  .object({
    uid: z.string(),
    name: z.string(),
    url: z.string(),
    events: z.array(z.enum(webhookEvents)),
    filter: WebhookFilter,
    enabled: z.boolean(),
    disabled_reason: z.string().nullable().describe('Why it was disabled, where nobody did that by hand.'),
    failing_since: z.iso.datetime().nullable().describe('Since when nothing has arrived; null: the last delivery did.'),
    created_by: z.object({ type: z.string(), uid: z.string() }),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'WebhookItem' })
export type WebhookItem = z.infer<typeof WebhookItem>

/** The answer that has the secret: of `POST /agent/webhooks`, and of `POST …/{uid}/secret`, which makes a new one. */
export const WebhookWithSecret = WebhookItem.extend({
  secret: z.string().describe('Signs every delivery. It is shown here and never again.'),
}).meta({ id: 'WebhookWithSecret' })
export type WebhookWithSecret = z.infer<typeof WebhookWithSecret>

export const Webhooks = z.object({ webhooks: z.array(WebhookItem) }).meta({ id: 'Webhooks' })

export const deliveryStates = ['pending', 'delivered', 'failed'] as const
export type DeliveryState = (typeof deliveryStates)[number]

/** One delivery, with its latest attempt. */
export const WebhookDelivery = z
  .object({
    delivery_id: z.uuid(),
    event: z.enum([...webhookEvents, PING]),
    run_id: z.uuid().nullable(),
    state: z.enum(deliveryStates).describe('`pending`: it is sent, or sent again, at `next_attempt_at`.'),
    attempts: z.number().int(),
    next_attempt_at: z.iso.datetime().nullable(),
    status: z.number().int().nullable().describe('Of the latest answer; null when there was none.'),
    error: z.string().nullable().describe('Why the latest attempt did not succeed.'),
    response: z.string().nullable().describe('The beginning of the latest answer.'),
    duration_ms: z.number().int().nullable(),
    created_at: z.iso.datetime(),
    attempted_at: z.iso.datetime().nullable(),
    delivered_at: z.iso.datetime().nullable(),
  })
  .meta({ id: 'WebhookDelivery' })
export type WebhookDelivery = z.infer<typeof WebhookDelivery>

export const WebhookDeliveries = z
  .object({ deliveries: z.array(WebhookDelivery), page_info: PageInfo })
  .meta({ id: 'WebhookDeliveries' })
export type WebhookDeliveries = z.infer<typeof WebhookDeliveries>

/** `GET …/deliveries` */
export const DeliveryQuery = z.object({ limit: pageLimit(50), cursor })

/** What is sent, as JSON. `run` is the run as it was when this was first sent; `data` is about the event itself. */
export const WebhookPayload = z
  .object({
    id: z.uuid().describe('Of the delivery: the same whenever it is sent again.'),
    event: z.enum([...webhookEvents, PING]),
    created_at: z.iso.datetime().describe('When it happened.'),
    webhook_uid: z.string(),
    team: z.string(),
    run: z.record(z.string(), z.unknown()).nullable().describe('A RunItem; null for a test.'),
    data: z
      .record(z.string(), z.unknown())
      .describe('`{state, execution}` of a change of state; of others, what they are about.'),
  })
  .meta({ id: 'WebhookPayload' })
export type WebhookPayload = z.infer<typeof WebhookPayload>
