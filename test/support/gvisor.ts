// gVisor, where the Docker daemon of this machine has it: see docs/isolation.md.
import { execa } from 'execa'

/** The runtime's name, as docs/isolation.md and .ci/run give it to the daemon. */
export const GVISOR = 'runsc'

export async function hasGvisor(): Promise<boolean> {
  const format = '{{range $name, $_ := .Runtimes}}{{println $name}}{{end}}'
  const { stdout = '' } = await execa('docker', ['info', '--format', format], { reject: false })
  return stdout.split('\n').includes(GVISOR)
}
