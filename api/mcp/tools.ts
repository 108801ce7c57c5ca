// The tools of agents: a call is checked, done once, and answered in words that the agent can act by.
import { type ToolName, tools } from '../../domain/tools.ts'
import type { Redactor } from '../../domain/vault/redaction.ts'
import type { CredentialHolder } from '../../secrets/gateway/credential.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { parse } from '../parse.ts'
import { askPerson } from './ask-person.ts'
import { getChildRun, startChildRun } from './child-runs.ts'
import { postProgress } from './post-progress.ts'
import { reportArtifact } from './report-artifact.ts'

export interface ToolDeps extends ApiDeps {
  /** What hides the values that a run was given. */
  redactorOf(runId: string): Promise<Redactor>
}

export interface ToolResult {
  content: { type: 'text'; text: string }[]
  isError?: true
}

/** Null for a tool that is not there. What is wrong with a call is told as its result, so that the agent reads it. */
export async function callTool(
  deps: ToolDeps,
  holder: CredentialHolder,
  name: string,
  given: unknown,
): Promise<ToolResult | null> {
  if (!Object.hasOwn(tools, name)) return null
  try {
    // It is stored, shown, and told to others.
    const clean = (await deps.redactorOf(holder.runId)).value(given)
    return { content: [{ type: 'text', text: await carryOut(deps, holder, name as ToolName, clean) }] }
  } catch (error) {
    if (!(error instanceof HttpError) || error.status >= 500) throw error
    return { content: [{ type: 'text', text: error.message }], isError: true }
  }
}

function carryOut(deps: ApiDeps, holder: CredentialHolder, name: ToolName, given: unknown): Promise<string> {
  switch (name) {
    case 'report_artifact':
      return reportArtifact(deps, holder, parse(tools[name].input, given))
    case 'post_progress':
      return postProgress(deps, holder, parse(tools[name].input, given))
    case 'start_child_run':
      return startChildRun(deps, holder, parse(tools[name].input, given))
    case 'get_child_run':
      return getChildRun(deps, holder, parse(tools[name].input, given))
    case 'ask_person':
      return askPerson(deps, holder, parse(tools[name].input, given))
  }
}
