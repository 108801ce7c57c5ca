// The HTTP API: what is served, in which order it is looked at.
import { randomUUID } from 'node:crypto'
import express, { type Express, type RequestHandler } from 'express'
import { trustedProxies } from '../config.ts'
import { HOST_API } from '../domain/host-api.ts'
import { REQUEST_BYTES } from '../domain/limits.ts'
import { TOOLS_API, toolRequestBytes } from '../domain/tools.ts'
import { createAttempts } from './access/attempts.ts'
import { identify } from './access/identify.ts'
import { sessionRoutes } from './access/sessions.ts'
import { SHARE_LINKS, shareLinkRoutes } from './access/share-links.ts'
import { SIGN_IN_PATH, signInRoutes } from './access/sign-in.ts'
import { apiKeyRoutes } from './accounts/api-keys.ts'
import { identityRoutes } from './accounts/identities.ts'
import { meRoutes } from './accounts/me.ts'
import { peopleRoutes } from './accounts/people.ts'
import { teamRoutes } from './accounts/teams.ts'
import { agentRoutes } from './agents.ts'
import { auditRoutes } from './audit.ts'
import { buildRoutes } from './builds/builds.ts'
import { environmentRoutes } from './builds/environments.ts'
import { configurationRoutes } from './configuration/kinds.ts'
import { linkRoutes } from './contents.ts'
import type { ApiDeps } from './deps.ts'
import { notFound, renderErrors } from './errors.ts'
import { gitCredentialRoutes } from './git-credentials.ts'
import { healthRoute } from './health.ts'
import { checkpointRoutes } from './hosts/checkpoints.ts'
import { hostArtifactRoutes } from './hosts/host-artifacts.ts'
import { requireHost } from './hosts/host-auth.ts'
import { hostBuildRoutes } from './hosts/host-builds.ts'
import { hostRoutes } from './hosts/hosts.ts'
import { workerRoutes } from './hosts/workers.ts'
import { LINKS } from './links.ts'
import { mcpRoutes, requireAgent } from './mcp/rpc.ts'
import { mcpServerRoutes } from './mcp-servers.ts'
import { countRequests, metricsRoute } from './metrics.ts'
import { modelProviderRoutes } from './model-providers.ts'
import { modelRoutes } from './models.ts'
import { budgetRoutes } from './money/budgets.ts'
import { creditRoutes } from './money/credits.ts'
import { referenceRoutes } from './openapi/reference.ts'
import { artifactRoutes } from './runs/artifacts.ts'
import { checkpointListRoutes } from './runs/checkpoint-list.ts'
import { conversationRoutes, transcriptLinkRoutes } from './runs/conversations.ts'
import { eventRoutes } from './runs/events.ts'
import { messageRoutes } from './runs/messages.ts'
import { pullRequestRoutes } from './runs/pull-requests.ts'
import { redirectRoutes } from './runs/redirects.ts'
import { referenceLookupRoutes } from './runs/references.ts'
import { resultRoutes } from './runs/results.ts'
import { runRoutes } from './runs/runs.ts'
import { scoreRoutes } from './runs/scores.ts'
import { shareRoutes } from './runs/shares.ts'
import { scheduleRoutes } from './schedules/schedules.ts'
import { secretRoutes } from './secrets/secrets.ts'
import { vaultRoutes } from './secrets/vault.ts'
import { hostSkillRoutes } from './skills/host-skills.ts'
import { statisticsRoutes } from './statistics.ts'
import { webhookRoutes } from './webhooks.ts'

/** A host hands over batches of events and whole diffs. */
const HOST_REQUEST_BYTES = 256 * 1024 * 1024
/** A key, and where to go. */
const SIGN_IN_BYTES = 16 * 1024

export function createApp(deps: ApiDeps): Express {
  const app = express()
  const guarded = { ...deps, attempts: createAttempts(deps.config.AMBIENT_WRONG_KEYS) }
  app.set('trust proxy', trustedProxies(deps.config))
  app.disable('x-powered-by')
  // Nothing here is worth a conditional request, and hashing each answer is not free.
  app.disable('etag')
  app.use((_request, response, next) => {
    response.set('x-request-id', randomUUID())
    next()
  })
  app.use(countRequests(deps.metrics))
  app.get('/healthz', healthRoute(deps))
  app.get('/metrics', metricsRoute(guarded))
  app.use(LINKS, linkRoutes(deps), transcriptLinkRoutes(deps))
  app.use(SHARE_LINKS, shareLinkRoutes(guarded))
  app.get('/', (_request, response) => response.redirect(302, SIGN_IN_PATH))
  app.use('/auth', signInBodies, signInRoutes(guarded), sessionRoutes(guarded), nothing)
  app.use('/api/v1', referenceRoutes())
  app.use('/api/v1/agent', redirectRoutes(deps))
  app.use(
    '/api/v1/agent',
    identify(guarded),
    deps.tracing.requests,
    express.json({ limit: REQUEST_BYTES }),
    agentRoutes(deps),
    runRoutes(deps),
    environmentRoutes(deps),
    buildRoutes(deps),
    messageRoutes(deps),
    eventRoutes(deps),
    resultRoutes(deps),
    checkpointListRoutes(deps),
    conversationRoutes(deps),
    scoreRoutes(deps),
    modelRoutes(deps),
    modelProviderRoutes(deps),
    statisticsRoutes(deps),
    creditRoutes(deps),
    budgetRoutes(deps),
    workerRoutes(deps),
    pullRequestRoutes(deps),
    referenceLookupRoutes(deps),
    secretRoutes(deps),
    vaultRoutes(deps),
    webhookRoutes(deps),
    mcpServerRoutes(deps),
    gitCredentialRoutes(deps),
    scheduleRoutes(deps),
    ...configurationRoutes(deps),
    auditRoutes(deps),
    artifactRoutes(deps),
    meRoutes(deps),
    teamRoutes(deps),
    peopleRoutes(deps),
    apiKeyRoutes(deps),
    identityRoutes(deps),
    shareRoutes(deps),
    nothing,
  )
  app.use(TOOLS_API, requireAgent(deps), express.json({ limit: toolRequestBytes(deps.config) }), mcpRoutes(deps))
  app.use(
    HOST_API,
    // Counted apart: a machine with a wrong key keeps no person out.
    requireHost({ ...deps, attempts: createAttempts(deps.config.AMBIENT_WRONG_KEYS) }),
    express.json({ limit: HOST_REQUEST_BYTES }),
    hostRoutes(deps),
    hostBuildRoutes(deps),
    hostSkillRoutes(deps),
    checkpointRoutes(deps),
    hostArtifactRoutes(deps),
    nothing,
  )
  app.use(identify(guarded), nothing)
  app.use(renderErrors(deps.log))
  return app
}

/** Forms as well as JSON, and nothing of it is kept by a browser. */
const signInBodies: RequestHandler[] = [
  (_request, response, next) => {
    response.set('cache-control', 'no-store')
    next()
  },
  express.json({ limit: SIGN_IN_BYTES }),
  express.urlencoded({ extended: false, limit: SIGN_IN_BYTES }),
]

const nothing: RequestHandler = (request) => {
  throw notFound(`There is no ${request.method} ${request.originalUrl.split('?')[0]}.`)
}
