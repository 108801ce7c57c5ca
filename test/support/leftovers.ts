// What a run has left on this machine.
import { readdir, readFile } from 'node:fs/promises'
import { execa } from 'execa'

/** Containers and processes that belong to a run, in words; empty when nothing is left. */
export async function leftovers(runId: string): Promise<string[]> {
  const containers = await execa('docker', ['ps', '-aq', '--filter', `label=ambient.run=${runId}`], { reject: false })
  const found = containers.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((id) => `container ${id}`)
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    if (!environment.includes(`AMBIENT_RUN=${runId}`)) continue
    found.push(
      `process ${pid}: ${(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')}`,
    )
  }
  return found
}
