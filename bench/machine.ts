// What the figures were measured on.
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { write } from './report.ts'

/** Above this share of the cores at work already, figures say more of the neighbours than of Ambient. */
const BUSY = 0.5

const cores = availableParallelism()

export function printMachine(): void {
  write(`${cores} cores (${cpus()[0]?.model.trim() || 'unnamed'}), ${(totalmem() / 2 ** 30).toFixed(1)} GiB of memory`)
  write(`Linux ${release()}, Node.js ${process.versions.node}`)
  printLoad('at the start')
  if ((loadavg()[0] ?? 0) > cores * BUSY)
    write('WARNING: this machine is busy with other work. The figures are worse than Ambient is.')
}

/** Part of it is the measure's own. */
export function printLoad(when: string): void {
  const averages = loadavg().map((value) => value.toFixed(2))
  write(`Load average ${when}: ${averages.join(' ')} (1, 5, 15 min)`)
}
