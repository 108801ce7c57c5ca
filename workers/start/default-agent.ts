// The agent that runs get which name none.
import { z } from 'zod'
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
export async function prepareDefaultAgent(options: HelperOptions): Promise<AgentSetup> {
  const setup = AgentSetup.parse(await runHelper('agent-setup.ts', [], options))
  if (setup.problem !== null)
    options.say(`${setup.title} is not installed yet: ${setup.problem}. A run will try again.`)
  return setup
}
