import { z } from 'zod'
import { Health } from '../../domain/health.ts'
import { Harnesses } from '../../domain/run.ts'
import { SkillList, SkillQuery } from '../../domain/skill.ts'
import { json, type Section } from './declaration.ts'

export const server: Section = {
  name: 'The server',
  description: 'What it offers, how it is, and this document.',
  routes: [
    {
      method: 'get',
      path: '/agent',
      id: 'listSkills',
      summary: 'List skills that runs can be started with',
      query: SkillQuery,
      answers: { 200: json(SkillList, { agents: [] }) },
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
