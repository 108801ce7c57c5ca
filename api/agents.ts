// What can be asked to work here: skills, which this server has none of, and harnesses.
import { Router } from 'express'
import { agentNames } from '../domain/harness.ts'
import type { Harnesses } from '../domain/run.ts'
import { agentProviders, resolveHarness } from '../runs/harness.ts'
import { permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { invalid } from './errors.ts'
import { onlyMethods, queryOf } from './parse.ts'
import { oneOf } from './runs/list-query.ts'

export function agentRoutes({ config }: ApiDeps): Router {
  const router = Router()

  // Despite its name, Oz's list is of the skills in the repositories of stored environments. There are neither here,
  // so the list is empty, and true.
  router
    .route('/')
    .get(permit('catalogue.view'), (request, response) => {
      const query = queryOf(request)
      const repo = query.get('repo')
      if (repo !== null && !/^[\w.-]+\/[\w.-]+$/.test(repo)) throw invalid('repo: must be owner/repo')
      oneOf(query, 'sort_by', ['name', 'last_run'])
      for (const name of ['refresh', 'include_malformed_skills']) oneOf(query, name, ['true', 'false'])
      response.json({ agents: [] })
    })
    .all(onlyMethods('GET'))

  router
    .route('/harnesses')
    .get(permit('catalogue.view'), (_request, response) => {
      const standard = resolveHarness(config, null)
      const answer: Harnesses = {
        default_harness: standard.agent,
        harnesses: agentNames.map((type) => {
          const { model, demo } = resolveHarness(config, {
            harness: { type, ...(type === 'command' && { command: ['-'] }) },
          })
          return { type, provider: agentProviders[type], default_model_id: model, demo }
        }),
      }
      response.json(answer)
    })
    .all(onlyMethods('GET'))

  return router
}
