import { describe, expect, test } from 'vitest'
import { agentNames } from '../domain/harness.ts'
import type { AcpAgent, LaunchContext } from './agent.ts'
import { agents } from './index.ts'

const acpAgents = Object.values(agents).filter((agent): agent is AcpAgent => agent.protocol === 'acp')

const context: LaunchContext = {
  home: '/home/agent',
  workspace: '/workspace',
  toolkit: '/opt/ambient/agent',
  node: '/opt/ambient/node',
  gatewayUrl: 'http://172.18.0.1:8421/provider',
  gatewayToken: 'secret-credential',
  model: null,
  reasoningLevel: null,
  policy: 'ask',
  rules: null,
  mcpServers: ['ambient'],
  isolated: true,
  runsAsRoot: false,
}

test('every agent is registered under its own name', () => {
  expect(Object.keys(agents).sort()).toEqual([...agentNames].sort())
  for (const name of agentNames) expect(agents[name].name).toBe(name)
})

describe.each(acpAgents)('$title', (agent) => {
  test('gets its credential by the environment alone, and its model from the gateway', () => {
    const { command, env, files } = agent.launch(context)
    expect(JSON.stringify([command, files])).not.toContain(context.gatewayToken)
    expect(JSON.stringify(env)).toContain(context.gatewayToken)
    expect(JSON.stringify([env, files])).toContain(context.gatewayUrl)
  })

  test('is told which model to use', () => {
    const { env, files } = agent.launch({ ...context, model: 'some-model-9' })
    expect(JSON.stringify([env, files])).toContain('some-model-9')
  })

  test('is told what it may do', () => {
    const told = (policy: LaunchContext['policy']) => JSON.stringify(agent.launch({ ...context, policy }))
    expect(told('allow')).not.toBe(told('ask'))
    expect(told('deny')).toBe(told('ask'))
  })

  test('has its files in its home and its program in its toolkit', () => {
    const { command, files } = agent.launch(context)
    for (const { path } of files) expect(path).toMatch(/^\.[\w./-]+$/)
    expect(command.some((part) => part.startsWith(`${context.toolkit}/node_modules/`))).toBe(true)
  })
})
