// Runs on a worker that has git. What the repositories of an environment have of skills, for the server to know.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SKILLS_BYTES } from '../../domain/configuration/skill.ts'
import { RunFailureError } from '../../domain/failure.ts'
import type { SkillReading } from '../../domain/host-api.ts'
import { readSkills } from '../../environments/git/skills.ts'
import type { StopSignals } from './attended.ts'
import type { HostDeps } from './deps.ts'

type Reading = SkillReading['repositories'][number]

const scratchOf = (runsDirectory: string) => join(runsDirectory, '..', 'skills')

/** When a host starts: clones in whose reading a former one was killed. */
export const dropUnfinishedReadings = (runsDirectory: string): Promise<void> =>
  rm(scratchOf(runsDirectory), { recursive: true, force: true, maxRetries: 3 })

/** One repository after the other: nobody waits at a terminal, and each may be large. Safe to repeat. */
export async function readSkillsOf(deps: HostDeps, readingId: string, signals: StopSignals): Promise<void> {
  const stop = AbortSignal.any([signals.interrupt, signals.detach])
  const order = await deps.server.skillReading(readingId, stop)
  if (order === null) return
  const { git, git_token: token } = order
  const broker = token === null ? {} : { broker: { gateway: deps.brokerUrl, token, repositories: git } }
  const access = { ...deps.git, ...broker }
  const budget = { bytes: SKILLS_BYTES }
  const repositories: Reading[] = []
  for (const repository of order.repositories) {
    const context = { access, team: order.team, signal: stop }
    const place = { scratch: scratchOf(deps.runsDirectory), budget }
    try {
      repositories.push({ ...(await readSkills(repository, context, place)), failure: null })
    } catch (error) {
      if (!(error instanceof RunFailureError)) throw error
      const { message, nextStep } = error.failure
      repositories.push({ revision: null, skills: [], failure: nextStep ? `${message} ${nextStep}` : message })
    }
  }
  await deps.server.skillsRead(readingId, { repositories }, stop)
  const count = repositories.reduce((sum, { skills }) => sum + skills.length, 0)
  deps.log.info({ environment: order.environment_id, skills: count }, 'the skills of an environment were read')
}
