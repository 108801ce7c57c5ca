// When a workflow has become too long to go on in. Workflow sandbox: no Node imports.
import { workflowInfo } from '@temporalio/workflow'
import type { Mailbox } from './mailbox.ts'

/** Temporal refuses the 10,000th signal of a workflow. */
const SIGNALS = 4_000

/** Far below every limit: Temporal suggests it at 4,096 events or 4 MiB of history, of 51,200 and 50 MiB. */
export const isLong = (mailbox: Mailbox): boolean =>
  workflowInfo().continueAsNewSuggested || mailbox.received >= SIGNALS
