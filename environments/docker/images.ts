// What a Docker host does with images beside running them.
import type { Images } from '../host.ts'
import type { Owner } from '../run-directory.ts'
import { type BuildDaemon, type BuildSettings, createImageBuilder } from './build-image.ts'
import { ensureImage } from './image.ts'
import { imageUser, imageVariables } from './image-facts.ts'

interface ImagesDaemon extends Omit<BuildDaemon, 'network'> {
  runsDirectory: string
  /** Image of sandboxes that name none. */
  image: string
  owner: Owner
  builds?: BuildSettings | undefined
  rootAllowed?: boolean | undefined
}

/** `network` makes the network of builds where it is missing, and gives its name. */
export function createImages(daemon: ImagesDaemon, network: () => Promise<string>): Images {
  const { docker, images, runsDirectory } = daemon
  const buildImage = createImageBuilder({ ...daemon, network }, daemon.builds ?? null)

  async function ensured(name: string | null, signal: AbortSignal): Promise<string> {
    const image = name ?? daemon.image
    await ensureImage(docker, image, signal, images)
    return image
  }

  return {
    build: buildImage,
    variables: async (image, signal) => imageVariables(docker, await ensured(image, signal)),
    user: async ({ runId, image, name, signal }) =>
      imageUser({ docker, runsDirectory }, { runId, image: await ensured(image, signal), name }),
    refusal({ uid }) {
      if (uid === 0 && !daemon.rootAllowed) return 'no sandbox of this host runs as root (AMBIENT_ROOT_USER)'
      if (uid !== daemon.owner.uid && process.getuid?.() !== 0) {
        return "this host does not run as root itself, and so its sandboxes run as the host's own user"
      }
      return null
    },
  }
}
