// What Temporal's own tools show of a run while it goes on. Workflow sandbox: no Node imports, no I/O.
import { setCurrentDetails, upsertSearchAttributes, workflowInfo } from '@temporalio/workflow'
import type { RunState } from '../domain/state.ts'
import { agentKey, stateAttribute, stateKey } from './search-attributes.ts'

/** The details cost no history. The attribute costs an event, so only a change is told. */
export function showState(state: RunState, details: string): void {
  setCurrentDetails(`${state}, ${details}`)
  const shown = workflowInfo().typedSearchAttributes.get(stateKey)
  // One that was started without: its server does not know them, and would fail the workflow.
  if (shown === undefined || shown === state) return
  upsertSearchAttributes(stateAttribute(state))
}

/** One line about an activity, with the agent where it is known: "turn 3: codex". Never what a person wrote. */
export function summaryOf(what: string): string {
  const agent = workflowInfo().typedSearchAttributes.get(agentKey)
  return agent === undefined ? what : `${what}: ${agent}`
}
