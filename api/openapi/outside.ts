// What runs make outside, and who is told of them.
import { PullRequests } from '../../domain/git/pull-request.ts'
import { ReferenceQuery, RunByReference } from '../../domain/reference-url.ts'
import {
  DeliveryQuery,
  WebhookConfig,
  WebhookDeliveries,
  WebhookDelivery,
  WebhookItem,
  Webhooks,
  WebhookWithSecret,
} from '../../domain/webhook.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, messageId, runId, updatedAt } from './examples.ts'

const pullRequests = {
  pull_requests: [
    {
      path: 'project',
      repository: 'https://github.com/you/project.git',
      branch: `ambient/${runId}`,
      state: 'opened',
      url: 'https://github.com/you/project/pull/7',
      number: 7,
      status: 'draft',
      notes: [],
      failure: null,
      attempts: 1,
      created_at: createdAt,
      updated_at: updatedAt,
    },
  ],
}

const uid = 'Wh3vQ8mTn1bXw5rLc7Hy2d'

const webhookBody = {
  name: 'Chat',
  url: 'https://chat.example.com/hooks/ambient',
  events: ['run.blocked', 'run.failed', 'run.pull_request'],
  filter: { sources: ['SCHEDULED_AGENT'], metadata: { squad: 'payments' } },
}

const webhook = {
  uid,
  ...webhookBody,
  enabled: true,
  disabled_reason: null,
  failing_since: null,
  created_by: { type: 'operator', uid: 'operator' },
  created_at: createdAt,
  updated_at: createdAt,
}

const withSecret = { ...webhook, secret: 'whsec_Xb1n0…' }

const delivery = {
  delivery_id: messageId,
  event: 'run.blocked',
  run_id: runId,
  state: 'delivered',
  attempts: 1,
  next_attempt_at: null,
  status: 200,
  error: null,
  response: 'ok',
  duration_ms: 84,
  created_at: createdAt,
  attempted_at: createdAt,
  delivered_at: createdAt,
}

const pending = { ...delivery, state: 'pending', attempts: 0, next_attempt_at: createdAt }
const unsent = { ...pending, status: null, response: null, duration_ms: null, attempted_at: null, delivered_at: null }

export const outside: readonly Section[] = [
  {
    name: 'Pull requests',
    description: 'Opened on GitHub and GitLab for what runs push; and the run that has made something elsewhere.',
    routes: [
      {
        method: 'get',
        path: '/agent/runs/{runId}/pull-requests',
        id: 'listPullRequests',
        summary: 'List the pull requests of a run',
        answers: { 200: json(PullRequests, pullRequests) },
      },
      {
        method: 'post',
        path: '/agent/runs/{runId}/pull-requests',
        id: 'openPullRequests',
        summary: 'Open the pull requests of a run again',
        description:
          'For one that could not be opened. What is open already stays as it is. The answer has them as they are now; what comes of it is told by the run’s transcript.',
        answers: { 202: json(PullRequests, pullRequests, 'They are being opened.') },
        errors: { 409: 'The run was asked for none, or has pushed nothing.' },
      },
      {
        method: 'get',
        path: '/agent/run-by-external-reference',
        id: 'findRunByExternalReference',
        summary: 'Find the run that has made something elsewhere',
        description: 'Of several, the first one. Trailing slashes, fragments and the order of the query do not count.',
        query: ReferenceQuery,
        answers: { 200: json(RunByReference, { run_id: runId }) },
        errors: { 404: 'No run that the caller may see has made it.' },
      },
    ],
  },
  {
    name: 'Webhooks',
    description: 'Who is told of what happens to the runs of a team, by signed requests.',
    routes: [
      {
        method: 'get',
        path: '/agent/webhooks',
        id: 'listWebhooks',
        summary: 'List webhooks',
        answers: { 200: json(Webhooks, { webhooks: [webhook] }) },
      },
      {
        method: 'post',
        path: '/agent/webhooks',
        id: 'createWebhook',
        summary: 'Make a webhook',
        body: { schema: WebhookConfig, example: webhookBody },
        idempotent: true,
        answers: { 201: json(WebhookWithSecret, withSecret, 'With the secret, which is shown here and never again.') },
        errors: { 409: 'The team has as many as it may.' },
      },
      {
        method: 'get',
        path: '/agent/webhooks/{uid}',
        id: 'getWebhook',
        summary: 'Read a webhook',
        answers: { 200: json(WebhookItem, webhook) },
      },
      {
        method: 'put',
        path: '/agent/webhooks/{uid}',
        id: 'replaceWebhook',
        summary: 'Replace a webhook',
        description: 'Everything but its secret. One that was disabled is enabled again by `enabled: true`.',
        body: { schema: WebhookConfig, example: webhookBody },
        answers: { 200: json(WebhookItem, webhook) },
      },
      {
        method: 'delete',
        path: '/agent/webhooks/{uid}',
        id: 'deleteWebhook',
        summary: 'Delete a webhook',
        answers: { 204: nothing('It is gone, with its deliveries.') },
      },
      {
        method: 'post',
        path: '/agent/webhooks/{uid}/secret',
        id: 'renewWebhookSecret',
        summary: 'Give a webhook a new secret',
        description: 'The former one signs nothing any more, from the next attempt on.',
        answers: { 200: json(WebhookWithSecret, withSecret, 'With the secret, which is shown here and never again.') },
      },
      {
        method: 'post',
        path: '/agent/webhooks/{uid}/ping',
        id: 'pingWebhook',
        summary: 'Try a webhook out',
        description: 'Sends it the event `ping`, also when it is disabled.',
        answers: { 202: json(WebhookDelivery, { ...unsent, event: 'ping', run_id: null }, 'It is on its way.') },
      },
      {
        method: 'get',
        path: '/agent/webhooks/{uid}/deliveries',
        id: 'listWebhookDeliveries',
        summary: 'List the deliveries of a webhook',
        description: 'The newest first. Those that are over are kept for seven days.',
        query: DeliveryQuery,
        answers: { 200: json(WebhookDeliveries, { deliveries: [delivery], page_info: { has_next_page: false } }) },
      },
      {
        method: 'post',
        path: '/agent/webhooks/{uid}/deliveries/{deliveryId}/resend',
        id: 'resendWebhookDelivery',
        summary: 'Send a delivery again',
        description: 'The same content under the same id, at once.',
        answers: { 202: json(WebhookDelivery, pending, 'It is on its way.') },
      },
    ],
  },
]
