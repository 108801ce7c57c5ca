// Whether the daemon finds what this process sees.
import type Docker from 'dockerode'
import { ask, askFor } from './daemon.ts'

/** By a container that is never started: the daemon mounts its directories to look into it. */
export async function sees(
  docker: Docker,
  image: string,
  { directory, name }: { directory: string; name: string },
): Promise<boolean> {
  const at = '/ambient-probe'
  const container = await ask('workspace', () =>
    docker.createContainer({
      Image: image,
      Entrypoint: ['/bin/true'],
      NetworkDisabled: true,
      HostConfig: { Mounts: [{ Type: 'bind', Source: directory, Target: at, ReadOnly: true }] },
    }),
  )
  try {
    const archive = await askFor('workspace', () => container.getArchive({ path: `${at}/${name}` }))
    archive?.resume()
    return archive !== null
  } finally {
    await ask('workspace', () => container.remove({ force: true }))
  }
}
