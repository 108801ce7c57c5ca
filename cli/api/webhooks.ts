// Outbound webhooks, as the command line asks for them.
import type { z } from 'zod'
import type {
  WebhookConfig,
  WebhookDeliveries,
  WebhookDelivery,
  WebhookItem,
  WebhookWithSecret,
} from '../../domain/webhook.ts'
import type { Requests } from './requests.ts'

type Body = z.input<typeof WebhookConfig>

export interface WebhooksApi {
  list(): Promise<WebhookItem[]>
  /** The secret is told here and never again. */
  create(body: Body): Promise<WebhookWithSecret>
  /** Everything but the secret. */
  replace(uid: string, body: Body): Promise<WebhookItem>
  remove(uid: string): Promise<void>
  renewSecret(uid: string): Promise<WebhookWithSecret>
  ping(uid: string): Promise<WebhookDelivery>
  /** The newest first. */
  deliveries(uid: string, query: { limit: number; cursor?: string | undefined }): Promise<WebhookDeliveries>
  resend(uid: string, deliveryId: string): Promise<WebhookDelivery>
}

export function createWebhooksApi(base: string, { steady, post, put, remove, json }: Requests): WebhooksApi {
  const at = (uid: string) => `${base}/${encodeURIComponent(uid)}`
  return {
    list: async () => (await json<{ webhooks: WebhookItem[] }>(steady(base))).webhooks,
    create: (body) => json(post(base, body)),
    replace: (uid, body) => put(at(uid), body),
    remove: (uid) => remove(at(uid)),
    renewSecret: (uid) => json(post(`${at(uid)}/secret`)),
    ping: (uid) => json(post(`${at(uid)}/ping`)),
    deliveries: (uid, { limit, cursor }) =>
      json(
        steady(
          `${at(uid)}/deliveries?limit=${limit}${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
        ),
      ),
    resend: (uid, deliveryId) => json(post(`${at(uid)}/deliveries/${encodeURIComponent(deliveryId)}/resend`)),
  }
}
