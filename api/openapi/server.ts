import { z } from 'zod'
import { SkillList, SkillQuery } from '../../domain/configuration/skill.ts'
import { Health } from '../../domain/health.ts'
import { Harnesses } from '../../domain/run.ts'
import { json, type Section } from './declaration.ts'
import { createdAt } from './examples.ts'

export const server: Section = {
  name: 'The server',
  description: 'What it offers, how it is, and this document.',
  routes: [
    {
      method: 'get',
      path: '/agent',
      id: 'listSkills',
      summary: 'List skills that runs can be started with',
      description:
        'Those in the repositories of the stored environments of the team, as hosts have read them last. A run names one as `skill`.',
      query: SkillQuery,
      answers: {
        200: json(SkillList, {
          agents: [
            {
              name: 'deploy',
              variants: [
                {
                  id: 'you/project:.agents/skills/deploy/SKILL.md',
                  description: 'Deploys the project to staging or to production.',
                  base_prompt: 'Run `scripts/deploy.sh` with the place that is asked for, and watch its health check.',
                  source: { owner: 'you', name: 'project', skill_path: '.agents/skills/deploy/SKILL.md' },
                  environments: [{ uid: 'Hq3vB0cXWn7rT2mKd8yLpE', name: 'project' }],
                  last_run_timestamp: createdAt,
                  revision: 'a6f1c2d4e5b60718293a4b5c6d7e8f9001122334',
                },
              ],
            },
          ],
        }),
      },
    },
    {
      method: 'get',
      path: '/agent/harnesses',
      id: 'listHarnesses',
      summary: 'List agents',
      answers: {
        200: json(Harnesses, {
          default_harness: 'claude',
          harnesses: [{ type: 'claude', provider: 'anthropic', default_model_id: null, demo: true }],
        }),
      },
    },
    {
      method: 'get',
      path: '/openapi.json',
      id: 'openApiDocument',
      summary: 'This document',
      open: true,
      answers: { 200: json(z.looseObject({ openapi: z.string() }), { openapi: '3.1.1' }, 'OpenAPI 3.1.') },
    },
    {
      method: 'get',
      path: '/docs',
      id: 'readDocument',
      summary: 'This document, as a page',
      open: true,
      answers: {
        200: { description: 'A page.', content: { 'text/html': { schema: z.string(), example: '<!doctype html>' } } },
      },
    },
    {
      method: 'get',
      path: '/healthz',
      root: true,
      id: 'health',
      summary: 'Ask whether everything is ready',
      open: true,
      answers: {
        200: json(
          Health,
          { status: 'ok', version: '0.1.0', checks: { database: 'ok', temporal: 'ok' } },
          'All is ready.',
        ),
        503: json(
          Health,
          { status: 'unavailable', version: '0.1.0', checks: { database: 'ok', temporal: 'no answer within 3 s' } },
          'Something is not.',
        ),
      },
    },
    {
      method: 'get',
      path: '/metrics',
      root: true,
      id: 'metrics',
      summary: 'Read the figures of the server, for Prometheus',
      description: 'With the admin key or `AMBIENT_METRICS_KEY`.',
      answers: {
        200: {
          description: 'In the text format of Prometheus.',
          content: { 'text/plain': { schema: z.string(), example: 'ambient_runs{state="QUEUED"} 0\n' } },
        },
      },
    },
  ],
}
