// What a host removes by itself, without a word from the server: leftovers of a former setting, images and programs that nobody uses.
import type { Logger } from 'pino'
import type { HostDeps } from '../activities/host/deps.ts'
import { removeOldAgents } from '../agents/upkeep.ts'
import { type Config, dataPaths } from '../config.ts'
import { tidyMirrors } from '../environments/git/mirror-upkeep.ts'
import type { Host } from '../environments/host.ts'
import { endOtherKind } from '../environments/other-kind.ts'

/** Ends the sandboxes that AMBIENT_HOST made when it was set to the other kind. Their runs go on in new ones. */
export async function endFormerKind(host: Host, config: Config, log: Logger): Promise<void> {
  const of = { runsDirectory: dataPaths(config).runs, image: config.AMBIENT_IMAGE }
  for (const run of await endOtherKind(host.kind, of)) {
    log.warn({ run, kind: host.kind }, 'ended a sandbox that was made when AMBIENT_HOST was another')
  }
}

export async function tidy(
  { host, log, agentsDirectory, git, snapshots }: HostDeps,
  config: Config,
  signal: AbortSignal,
): Promise<void> {
  const paths = dataPaths(config)
  await endFormerKind(host, config, log)
  for (const url of await tidyMirrors(paths.mirrors, git, config.AMBIENT_MIRRORS_GB * 1024 ** 3, signal)) {
    log.info({ url }, 'removed the copy of a repository that was unused longest: see AMBIENT_MIRRORS_GB')
  }
  for (const { id } of await snapshots.trim(config.AMBIENT_SNAPSHOTS_GB * 1024 ** 3)) {
    log.info({ snapshot: id }, 'removed a prepared environment that nobody needs: see AMBIENT_SNAPSHOTS_GB')
  }
  for (const image of await host.trimImages(config.AMBIENT_IMAGES_GB * 1024 ** 3)) {
    log.info({ image }, 'removed an image that was unused longest: see AMBIENT_IMAGES_GB')
  }
  const used = (directories: readonly string[]) => host.worksFrom(directories)
  for (const directory of await removeOldAgents(agentsDirectory, used)) {
    log.info({ directory }, "removed an agent's program at a version that is no longer used")
  }
}
