// What a run has left on this machine.
import { readdir, readFile } from 'node:fs/promises'
import { execa } from 'execa'

/** Containers and processes that belong to any of these runs, in words; empty when nothing is left. */
export async function leftovers(...runIds: readonly string[]): Promise<string[]> {
  const format = '{{.Label "ambient.run"}} {{.ID}}'
  const listed = await execa('docker', ['ps', '-a', '--filter', 'label=ambient.run', '--format', format], {
    reject: false,
  })
  const found = listed.stdout
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([runId = '', id]) => (runIds.includes(runId) ? [`container ${id}`] : []))
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    const runId = /(?:^|\0)AMBIENT_RUN=([^\0]*)/.exec(environment)?.[1]
    if (runId === undefined || !runIds.includes(runId)) continue
    found.push(
      `process ${pid}: ${(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')}`,
    )
  }
  return found
}
