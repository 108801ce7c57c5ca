// What a host of the other kind has left at work on this machine, over the same directory of runs.
import Docker from 'dockerode'
import { dockerAnswers } from './create-host.ts'
import { aliveRuns, endProcesses } from './direct/stop.ts'
import { labels } from './docker/container.ts'
import { containersOf, endContainers } from './docker/end.ts'
import { removeStrayNetworks } from './docker/spare-networks.ts'
import type { Host } from './host.ts'
import { listRunDirectories } from './run-directory.ts'

/**
 * Ends every sandbox of the other kind: AMBIENT_HOST has been changed since, and
 * nobody can speak with its agent any more. The files stay, for a sandbox of
 * this kind. @returns the runs that had one.
 */
export async function endOtherKind(
  kind: Host['kind'],
  { runsDirectory, image }: { runsDirectory: string; image: string },
): Promise<string[]> {
  return kind === 'docker' ? endAllProcesses(runsDirectory) : endAllContainers(runsDirectory, image)
}

async function endAllProcesses(runsDirectory: string): Promise<string[]> {
  const runs = [...(await aliveRuns(runsDirectory, await listRunDirectories(runsDirectory)))]
  for (const runId of runs) await endProcesses(runsDirectory, runId)
  return runs
}

/** Of a daemon that does not answer nothing can be asked; the next time finds what it still has. */
async function endAllContainers(runsDirectory: string, image: string): Promise<string[]> {
  if (!(await dockerAnswers())) return []
  const holder = { docker: new Docker(), runsDirectory, image }
  const runs = (await containersOf(holder)).map(({ Labels }) => Labels[labels.run] ?? '')
  const found = [...new Set(runs)].filter((runId) => runId !== '')
  for (const runId of found) await endContainers(holder, runId)
  await removeStrayNetworks(holder, new Set())
  return found
}
