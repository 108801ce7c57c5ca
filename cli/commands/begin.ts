// What comes of a run that is asked for here: it is started, followed, and its work brought home.
import { typed } from '../../config.ts'
import type { Api } from '../api/client.ts'
import type { BranchWish } from '../bring-home.ts'
import { exitCodes } from '../exit.ts'
import { follow } from '../follow.ts'
import { shortId } from '../render/summary.ts'
import type { Screen } from '../screen.ts'
import { deliver } from './apply.ts'

export interface BeginOptions {
  branch?: string | true
  into?: string
  force?: boolean
  patch?: string | true
  json?: boolean
}

/** Returns the exit code. `body` is that of the request. */
export async function begin(
  api: Api,
  screen: Screen,
  body: unknown,
  options: BeginOptions & { following: boolean },
): Promise<number> {
  const json = options.json === true
  const started = await api.start(body)
  const current = await api.get(started.run_id)
  const id = shortId(current)
  if (json) screen.write(`${JSON.stringify(current)}\n`)
  for (const warning of started.warnings ?? []) screen.note(`! ${warning}`)

  if (!options.following) {
    if (!json) {
      screen.write(`${started.run_id}\n`)
      if (started.at_capacity) screen.note(`The run waits in line. Its place: ${typed} runs show ${id}`)
      screen.note(`Started. Follow it: ${typed} logs ${id} --follow`)
    }
    return exitCodes.succeeded
  }
  if (!json) {
    const { colours } = screen.style
    const harness = (current.agent_config.harness ?? {}) as { agent?: string }
    const agent = harness.agent ? ` · ${harness.agent}` : ''
    screen.write(
      `${colours.bold(`Run ${id}`)}${agent}${current.demo ? ' · demo: a scripted model, no model key is set' : ''}\n`,
    )
    // Its place comes with the transcript.
    if (started.at_capacity) screen.write(colours.dim('The run waits in line.\n'))
  }
  const followed = await follow({ api, screen, run: current, after: 0, json, bringsHome: options.branch !== undefined })
  if (options.branch === undefined && options.patch === undefined) return followed.exitCode
  if (followed.exitCode === exitCodes.interrupted || followed.exitCode === exitCodes.blocked) {
    screen.note(`Nothing is brought home yet. When the run has ended: ${typed} apply ${id} --branch`)
    return followed.exitCode
  }
  const branch: BranchWish | null =
    options.branch === undefined
      ? null
      : {
          name: options.branch === true ? `ambient/${id}` : options.branch,
          into: options.into ?? null,
          force: options.force === true,
        }
  await deliver(api, screen, started.run_id, { branch, patch: options.patch ?? null, json })
  return followed.exitCode
}
