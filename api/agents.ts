// What can be asked to work here: skills, and harnesses.
import { Router } from 'express'
import { SkillQuery } from '../domain/configuration/skill.ts'
import { agentNames } from '../domain/harness.ts'
import type { Harnesses } from '../domain/run.ts'
import { agentProviders, resolveHarness } from '../runs/harness.ts'
import { callerOf, permit } from './access/caller.ts'
import type { ApiDeps } from './deps.ts'
import { invalid } from './errors.ts'
import { onlyMethods, queryOf } from './parse.ts'
import { oneOf } from './runs/list-query.ts'
import { refreshSkills } from './skills/refresh.ts'
import { listSkills } from './skills/skill-list.ts'

export function agentRoutes(deps: ApiDeps): Router {
  const { config } = deps
  const router = Router()

  // Despite its name, Oz's list is of the skills in the repositories of stored environments.
  router
    .route('/')
    .get(permit('catalogue.view'), async (request, response) => {
      const query = queryOf(request)
      const repo = query.get('repo') || null
      if (repo !== null && !SkillQuery.shape.repo.safeParse(repo).success) throw invalid('repo: must be owner/repo')
      const sortBy = oneOf(query, 'sort_by', ['name', 'last_run']) ?? 'name'
      const isAsked = (name: string) => oneOf(query, name, ['true', 'false']) === 'true'
      const withMalformed = isAsked('include_malformed_skills')
      const { team } = callerOf(response)
      if (isAsked('refresh')) await refreshSkills(deps, team)
      response.json(await listSkills(deps.db, { team, repo, sortBy, withMalformed }))
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
