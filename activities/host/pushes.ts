// Runs on the worker that holds the sandbox. Prepared environments whose repositories have changed so much that the set-up would run again.
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CannotCatchUpError, whatIsNew } from '../../environments/prepared/catch-up.ts'
import { familyOf } from '../../environments/prepared/key.ts'
import { isContainerInput, isSetupInput } from '../../environments/prepared/setup-inputs.ts'
import { type HostDeps, RunState } from './deps.ts'
import type { UsedEnvironment } from './used-environments.ts'

/** An environment that no run has named for so long is looked at no more. In milliseconds. */
const USED_MS = 24 * 60 * 60_000

export type PushWatch = ReturnType<typeof createPushWatch>

type WatchDeps = Pick<
  HostDeps,
  'host' | 'server' | 'log' | 'git' | 'brokerUrl' | 'snapshots' | 'environments' | 'runsDirectory'
>

export function createPushWatch(deps: WatchDeps) {
  /** What a build was asked for already, by the environment's id: one that fails is not asked for again and again. */
  const asked = new Map<string, string>()

  async function lookAt(used: UsedEnvironment, signal: AbortSignal): Promise<void> {
    const change = await changeOf(deps, used, signal)
    if (change === null || asked.get(used.id) === change) return
    await deps.server.askForBuild(used.id, 'push', signal)
    asked.set(used.id, change)
    deps.log.info({ environment: used.id }, 'what its set-up depends on has changed: a build is asked for')
  }

  return {
    /** Has those built anew that runs of this host have used lately. */
    async look(signal: AbortSignal): Promise<void> {
      for (const used of deps.environments.since(Date.now() - USED_MS)) {
        await lookAt(used, signal).catch((error: unknown) => {
          signal.throwIfAborted()
          deps.log.info(
            { environment: used.id, reason: String(error) },
            'whether it has changed could not be found out',
          )
        })
      }
    },
  }
}

/** In a word that is another one for another change; null where a run can start from what is there without a set-up. */
async function changeOf(deps: WatchDeps, used: UsedEnvironment, signal: AbortSignal): Promise<string | null> {
  const { team, environment } = used
  const [snapshot] = await deps.snapshots.ofFamily(familyOf({ host: deps.host, team, environment }))
  // Whoever misses it has asked for it.
  if (snapshot === undefined) return null
  const directory = join(deps.runsDirectory, `.news-${randomUUID()}`)
  try {
    const { git_token: token, git: brokered } = await deps.server.environmentGit(used.id, signal)
    const broker = token === null ? {} : { broker: { gateway: deps.brokerUrl, token, repositories: brokered } }
    const moves = await whatIsNew({
      ...{ repositories: environment.repos, prepared: snapshot.repositories, at: {}, team },
      ...{ access: { ...deps.git, ...broker }, signal, directory },
    })
    const build = RunState.parse(snapshot.record).devcontainer?.choice.build ?? null
    const counts = moves.filter(({ path, files }) =>
      files.some((file) => isSetupInput(environment, path, file) || isContainerInput(environment, build, path, file)),
    )
    // With the snapshot: a build that had cloned already when the commit came does not have it.
    return counts.length === 0 ? null : [snapshot.id, ...counts.map(({ path, to }) => `${path} ${to}`)].join('\n')
  } catch (error) {
    if (error instanceof CannotCatchUpError) return `${snapshot.id}: ${error.message}`
    throw error
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
