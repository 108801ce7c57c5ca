import { expect, test } from 'vitest'
import { failureCodes } from './failure.ts'

/** What the official clients know; strict ones refuse anything else, and take an absent code. */
const published = [
  ...['insufficient_credits', 'feature_not_available', 'external_authentication_required', 'not_authorized'],
  ...['invalid_request', 'resource_not_found', 'budget_exceeded', 'integration_disabled', 'integration_not_configured'],
  ...['operation_not_supported', 'environment_setup_failed', 'content_policy_violation', 'conflict'],
  ...['authentication_required', 'resource_unavailable', 'internal_error'],
]

test('a failure is told to official clients by a code they know, or by none', () => {
  for (const { oz } of Object.values(failureCodes)) if (oz !== null) expect(published).toContain(oz)
})

test('what went wrong while the agent worked is not called an invalid request', () => {
  const { command_failed, agent_exited, agent_limit } = failureCodes
  expect([command_failed, agent_exited, agent_limit].map(({ oz }) => oz)).toEqual([null, null, null])
})
