// The work product of a run.
import { type Response, Router } from 'express'
import { type ListedResult, listResults, readResultPart } from '../../store/runs/results.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { onlyMethods, queryOf } from '../parse.ts'
import { runFor } from './run-access.ts'

const formats = ['patch', 'json', 'bundle'] as const
type Format = (typeof formats)[number]

export function resultRoutes(deps: ApiDeps): Router {
  const router = Router()

  router
    .route('/runs/:runId/diff')
    .get(async (request, response) => {
      const { id } = await runFor(deps, request, response, 'runs.view')
      const query = queryOf(request)
      const format = formatOf(query.get('format'))
      const results = pick(await listResults(deps.db, id), query.get('repo'))
      if (format === 'json') response.json({ repositories: results })
      else if (format === 'patch') await sendPatch(deps, response, id, results)
      else await sendBundle(deps, response, id, results)
    })
    .all(onlyMethods('GET'))

  return router
}

function formatOf(text: string | null): Format {
  const format = formats.find((candidate) => candidate === (text ?? 'patch'))
  if (!format) throw invalid(`format: must be one of ${formats.join(', ')}`)
  return format
}

function pick(results: ListedResult[], path: string | null): ListedResult[] {
  if (path === null) return results
  const picked = results.filter((result) => result.path === path)
  if (picked.length === 0) throw notFound(`The run has no result for a repository at "${path}".`)
  return picked
}

/** One repository's patch as git wrote it; of several, one after the other, each named by a line that git skips. */
async function sendPatch(deps: ApiDeps, response: Response, id: string, results: ListedResult[]): Promise<void> {
  const [only] = results
  if (only && results.length === 1 && only.patch_bytes === null) throw notFound(only.note ?? 'The patch was not kept.')
  const parts: Buffer[] = []
  for (const result of results) {
    const patch = await readResultPart(deps.db, id, result, 'patch')
    const note = patch === null ? ` (${result.note ?? 'not kept'})` : ''
    if (results.length > 1) parts.push(Buffer.from(`# Repository: ${result.path}${note}\n`))
    if (patch) parts.push(patch)
  }
  response.type('text/x-diff; charset=utf-8').send(Buffer.concat(parts))
}

async function sendBundle(deps: ApiDeps, response: Response, id: string, results: ListedResult[]): Promise<void> {
  const [only] = results
  if (!only) throw notFound('The run has no result.')
  if (results.length > 1) {
    throw invalid(`repo: is needed, the run has results for ${results.map((result) => result.path).join(', ')}`)
  }
  const bundle = await readResultPart(deps.db, id, only, 'bundle')
  if (!bundle) throw notFound(only.note ?? 'There is no bundle: nothing was changed, or it was too large to keep.')
  response
    .type('application/x-git-bundle')
    .attachment(`${only.path.replaceAll('/', '-')}.bundle`)
    .send(bundle)
}
