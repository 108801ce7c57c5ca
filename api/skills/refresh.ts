// Has the skills of a team read again, for somebody who waits for it.
import type { Config } from '../../config.ts'
import type { Db } from '../../store/database.ts'
import type { EventListener } from '../../store/listener.ts'
import { askForReading, environmentsToRead, unfinishedOf } from '../../store/skills/readings.ts'
import type { SkillReader } from './skill-reader.ts'

/** Official clients wait for a minute. What takes longer is there the next time. */
const WAITS_MS = 20_000

export interface RefreshDeps {
  db: Db
  config: Pick<Config, 'AMBIENT_POOL'>
  listener: Pick<EventListener, 'subscribe'>
  skills: Pick<SkillReader, 'nudge'>
  closing: AbortSignal
}

/** Returns when all of the team's environments have been read, or the time is up. */
export async function refreshSkills(
  { db, config, listener, skills, closing }: RefreshDeps,
  team: string,
): Promise<void> {
  const asked: string[] = []
  for (const { id } of await environmentsToRead(db, team)) {
    const reading = await db.transaction().execute((tx) => askForReading(tx, id, config.AMBIENT_POOL))
    if (reading !== null) asked.push(reading)
  }
  if (asked.length === 0) return
  const enough = AbortSignal.any([AbortSignal.timeout(WAITS_MS), closing])
  let wake = () => {}
  const leave = asked.map((id) => listener.subscribe(id, () => wake()))
  try {
    skills.nudge()
    while (!enough.aborted) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve
        enough.addEventListener('abort', () => resolve(), { once: true })
      })
      // Looked at after the promise is there: what is said from here on wakes it.
      if ((await unfinishedOf(db, asked)).length === 0) return
      await woken
    }
  } finally {
    for (const end of leave) end()
  }
}
