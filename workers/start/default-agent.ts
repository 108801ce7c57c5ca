// The agent that runs get which name none.
import { z } from 'zod'
import type { Config } from '../../config.ts'
import { modelKeySettings } from '../../secrets/gateway/targets.ts'
import { type HelperOptions, runHelper } from './helper.ts'

const AgentSetup = z.object({
  title: z.string(),
  /** No key for its provider: a scripted model plays the part. */
  demo: z.boolean(),
  /** Why it could not be installed. */
  problem: z.string().nullable(),
})
export type AgentSetup = z.infer<typeof AgentSetup>

/** Installs it where it is missing. Never keeps the rest from starting: a run installs its agent by itself. */
export async function prepareDefaultAgent(config: Config, options: HelperOptions): Promise<AgentSetup> {
  // Which agent it is depends on which keys are set, not on the keys; npm must not have them.
  const set = Object.fromEntries(modelKeySettings.filter((name) => config[name]).map((name) => [name, 'set']))
  const env = { ...options.env, ...set }
  const setup = AgentSetup.parse(await runHelper('agent-setup.ts', [], { ...options, env }))
  if (setup.problem !== null)
    options.say(`${setup.title} is not installed yet: ${setup.problem}. A run will try again.`)
  return setup
}
