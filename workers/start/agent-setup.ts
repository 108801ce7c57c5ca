// Helper: installs the default agent, so that the first run need not wait for it.
import { agents } from '../../agents/index.ts'
import { installAgent } from '../../agents/install.ts'
import { dataPaths, loadConfig } from '../../config.ts'
import { agentProviders, defaultAgent } from '../../runs/harness.ts'
import { providerTargets } from '../../secrets/gateway/targets.ts'
import type { AgentSetup } from './default-agent.ts'
import { helperMain, helperSay } from './helper.ts'

const config = loadConfig()
await helperMain(async (): Promise<AgentSetup> => {
  const agent = agents[defaultAgent(config)]
  const provider = agentProviders[agent.name]
  const demo = provider !== null && providerTargets(config)[provider] === null
  if (agent.protocol === 'command') return { title: agent.title, demo, problem: null }
  try {
    await installAgent(agent, { directory: dataPaths(config).agents, onProgress: helperSay })
    return { title: agent.title, demo, problem: null }
  } catch (error) {
    return { title: agent.title, demo, problem: error instanceof Error ? error.message : String(error) }
  }
})
