// One piece of mail on its way to a workflow.
import { type Client, WorkflowNotFoundError } from '@temporalio/client'
import type { SearchAttributePair } from '@temporalio/common'
import type { Undelivered } from '../store/runs/mail.ts'
import { MAIL_SIGNAL, ORCHESTRATOR_QUEUE, RUN_WORKFLOW, workflowId } from '../workflows/contract.ts'
import { initialAttributes } from '../workflows/search-attributes.ts'
import type { AttributeRegistration } from './search-attributes.ts'

/**
 * A prompt starts the workflow where none is running. So does a cancel: an
 * operator may have terminated it, and the run is still to be ended. The rest is
 * for one that runs.
 */
export async function handOver(
  client: Client,
  attributes: Pick<AttributeRegistration, 'ready' | 'refused'>,
  { runId, mail, labels }: Undelivered,
): Promise<void> {
  if (mail.kind !== 'prompt' && mail.kind !== 'cancel') return await signal(client, runId, mail)
  const start = (typedSearchAttributes: SearchAttributePair[]) =>
    client.workflow.signalWithStart(RUN_WORKFLOW, {
      workflowId: workflowId(runId),
      taskQueue: ORCHESTRATOR_QUEUE,
      args: [{ runId }],
      signal: MAIL_SIGNAL,
      signalArgs: [mail],
      // A follow-up on a run that has ended starts its workflow again.
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      staticSummary: `agent run: ${labels.agent}`,
      staticDetails: `From ${labels.source}, for the pool ${labels.pool}.`,
      ...(typedSearchAttributes.length > 0 ? { typedSearchAttributes } : {}),
    })
  await startWithAttributes(attributes, initialAttributes(labels), start)
}

/** Where the server does not know the attributes, without them. */
export async function startWithAttributes(
  attributes: Pick<AttributeRegistration, 'ready' | 'refused'>,
  pairs: SearchAttributePair[],
  start: (pairs: SearchAttributePair[]) => Promise<unknown>,
): Promise<void> {
  if (!(await attributes.ready())) {
    await start([])
    return
  }
  try {
    await start(pairs)
  } catch (error) {
    // An operator has removed one, or another server of the cluster has not heard of it yet: the work comes first.
    if (!/search attribute/i.test(causeOf(error))) throw error
    attributes.refused()
    await start([])
  }
}

async function signal(client: Client, runId: string, mail: Undelivered['mail']): Promise<void> {
  try {
    await client.workflow.getHandle(workflowId(runId)).signal(MAIL_SIGNAL, mail)
  } catch (error) {
    // The run has ended meanwhile: there is nothing left to answer or to cancel.
    if (!(error instanceof WorkflowNotFoundError)) throw error
  }
}

/** Temporal's errors say what was tried; what went wrong is their cause. */
export const causeOf = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
