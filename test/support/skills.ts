// Skills of an environment, as if a host had found them.
import { askForReading } from '../../store/skills/readings.ts'
import type { TestApi } from './api.ts'

const READER = { id: 'reader', secret: 'secret-of-the-reader' }
/** Of its own, so that it is asked for nothing else. */
const POOL = 'readers'

/** In the only repository of the environment; each skill by the path of its SKILL.md and its name. */
export async function givenSkills(
  api: TestApi,
  environmentId: string,
  { revision, skills }: { revision: string; skills: readonly (readonly [path: string, name: string])[] },
): Promise<void> {
  const report = { pool: POOL, kind: 'direct', version: '1', capacity: 1, in_use: 0 }
  await api.host('PUT', `/hosts/${READER.id}`, report, READER)
  const reading = await api.db.transaction().execute((tx) => askForReading(tx, environmentId, POOL))
  const found = skills.map(([path, name]) => ({
    path,
    text: `---\nname: ${name}\ndescription: For ${name}.\n---\nWhat ${name} says.\n`,
    files: [],
    problem: null,
  }))
  const body = { repositories: [{ revision, failure: null, skills: found }] }
  const { status } = await api.host('PUT', `/skill-readings/${reading}`, body, READER)
  if (status !== 200) throw new Error(`the skills were not taken: ${status}`)
}
