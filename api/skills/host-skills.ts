// What a host asks of the server for skills: those of its runs, and those that it is to read for all.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Request, Response, Router } from 'express'
import { repositoryName } from '../../domain/configuration/skill.ts'
import { readSkillText } from '../../domain/configuration/skill-file.ts'
import { SkillReading, SkillReadingOrder, SkillTexts } from '../../domain/host-api.ts'
import { withoutCredentials } from '../../domain/run.ts'
import { openEnvironment } from '../../secrets/vault/inline.ts'
import { issueHostGitToken } from '../../store/git/tokens.ts'
import { skillContents } from '../../store/skills/contents.ts'
import {
  type FoundSkill,
  findReading,
  type RepositoryReading,
  recordReading,
  recordReadingFailure,
} from '../../store/skills/readings.ts'
import { skillsOfRun } from '../../store/skills/run-skills.ts'
import type { ApiDeps } from '../deps.ts'
import { invalid, notFound } from '../errors.ts'
import { callerOf, forbidden, hostRouter, refuseUnreported } from '../hosts/host-auth.ts'
import { brokered } from '../hosts/host-git.ts'
import { parse, parseBody, pathId, queryOf, runId } from '../parse.ts'

export function hostSkillRoutes(deps: Pick<ApiDeps, 'db' | 'vault' | 'config' | 'log'>): Router {
  const { db, vault } = deps
  const router = hostRouter({ db })

  router.get('/runs/:runId/skills', async (request, response) => {
    const withFiles = queryOf(request).get('files') === 'true'
    const skills = await skillsOfRun(db, runId(request))
    const contents = await skillContents(
      db,
      skills.map(({ content }) => content),
      { withFiles },
    )
    const texts = skills.map(({ content }) => contents.get(content) ?? { text: '', files: [] })
    response.json(parse(SkillTexts, { skills: texts }))
  })

  router.get('/skill-readings/:readingId', async (request, response) => {
    const { id, environmentId, team, repositories } = await readingOf(request, response)
    const { repos } = openEnvironment(vault, { repos: repositories, setup_commands: [], env: {} })
    const git = await brokered(deps, { team, person: null }, repositories)
    const token = git.length === 0 ? null : await issueHostGitToken(db, { environmentId })
    const order = { reading_id: id, environment_id: environmentId, team, repositories: repos, git, git_token: token }
    response.json(parse(SkillReadingOrder, order))
  })

  router.put('/skill-readings/:readingId', async (request, response) => {
    const { id, repositories, isOutdated } = await readingOf(request, response)
    if (isOutdated) {
      await recordReadingFailure(db, id, 'The environment was changed meanwhile. It is read again.')
      response.json({})
      return
    }
    const found = parseBody(SkillReading, request).repositories
    if (found.length !== repositories.length)
      throw invalid(`repositories: must be ${repositories.length}, as many as the environment has`)
    const readings: RepositoryReading[] = []
    for (const [index, { revision, failure, skills: handed }] of found.entries()) {
      const url = withoutCredentials(repositories[index]?.url ?? '')
      const skills: FoundSkill[] = []
      for (const skill of handed) {
        skills.push(readOne(skill))
        // Strangers have written them: others are not to wait for all of them.
        await nextTurn()
      }
      readings.push({ url, ...repositoryName(url), revision, failure, skills })
    }
    await recordReading(db, id, readings)
    response.json({})
  })

  return router

  async function readingOf(request: Request, response: Response) {
    refuseUnreported(response)
    const id = pathId(request, 'readingId', 'reading')
    const reading = await findReading(db, id)
    if (reading === null) throw notFound(`There is no reading ${id} that goes on.`)
    const { hostId } = callerOf(response)
    if (reading.hostId !== hostId) throw forbidden(`The reading is not for ${hostId}.`)
    return { ...reading, id }
  }
}

type Handed = SkillReading['repositories'][number]['skills'][number]

/** What cannot be used has the name of its folder where it says none. */
function readOne({ path, text, files, problem }: Handed): FoundSkill {
  const said = problem === null ? readSkillText(text) : { name: null, description: null, problem }
  const folder = path.split('/').at(-2) ?? path
  return {
    path,
    name: said.name ?? folder,
    description: said.description ?? '',
    problem: said.problem,
    text,
    files,
  }
}
