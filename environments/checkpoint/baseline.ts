// What was in the repositories before an agent worked in them, beside files and branches. A clone and the set-up commands bring it again.
import { join } from 'node:path'
import { z } from 'zod'
import { createJobFile, type JobPaths, readBounded } from '../job-directory.ts'
import { UntrustedFileError } from '../no-links.ts'
import { type Owner, type RunPaths, readState, writeState } from '../run-directory.ts'

/** Some hundred thousand tags. Beyond it nothing is compared with the start, so neither tags nor what git ignores are kept. */
const BASELINE_BYTES = 16 * 1024 * 1024

const FILE = 'baseline'
const Baseline = z.object({
  /** When it was noted, in milliseconds since 1970: what is newer is the agent's. */
  at: z.number(),
  /** As the sandbox's script wrote it, and reads it again. */
  text: z.string(),
})

/** From the job that has noted it. `at`: a moment before that. */
export async function keepBaseline(paths: RunPaths, job: JobPaths, at: number): Promise<void> {
  const found = await readBounded(join(job.own, 'baseline'), BASELINE_BYTES).catch((error: unknown) => {
    // Something else in its place is the sandbox's doing: then there is none.
    if (error instanceof UntrustedFileError) return null
    throw error
  })
  if (found === 'too large') return
  await writeState(paths, Baseline, { at, text: found?.toString('utf8') ?? '' }, FILE)
}

/** Puts the one of a finished build where its snapshot is made. */
export async function copyBaseline({ root }: Pick<RunPaths, 'root'>, directory: string): Promise<void> {
  const baseline = readState({ root }, Baseline, FILE)
  if (baseline !== null) await writeState({ root: directory }, Baseline, baseline, FILE)
}

/** For a run that begins from a snapshot as it is: what is newer than this moment will be its agent's. */
export async function adoptBaseline(snapshot: { directory: string }, paths: RunPaths): Promise<void> {
  const baseline = readState({ root: snapshot.directory }, Baseline, FILE)
  if (baseline !== null) await writeState(paths, Baseline, { ...baseline, at: Date.now() }, FILE)
}

/** For the job that compares with it: `baseline`, and the file `since` of its time. Nothing where there is none. */
export async function putBaseline(paths: RunPaths, job: JobPaths, owner: Owner): Promise<void> {
  const baseline = readState(paths, Baseline, FILE)
  if (baseline === null) return
  await using file = await createJobFile(job, 'baseline', owner)
  await file.writeFile(baseline.text)
  await using since = await createJobFile(job, 'since', owner)
  const at = new Date(baseline.at)
  await since.utimes(at, at)
}
