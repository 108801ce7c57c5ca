// What the world is told of an execution. Workflow sandbox: no Node imports, no I/O.
import { CancellationScope } from '@temporalio/workflow'
import { isTerminal } from '../domain/state.ts'
import type { ExecutionRef, RunStatus, StateChange } from './contract.ts'
import { orchestrator } from './orchestrator.ts'
import { showState } from './visibility.ts'

type Change = Omit<StateChange, 'runId' | 'execution' | 'key'>

/**
 * Changes of state, recorded in their order and without holding up the work.
 * Those that come together are recorded together.
 */
export class Reports {
  readonly #ref: ExecutionRef
  readonly #status: RunStatus
  readonly #host: () => string | null
  #waiting: StateChange[] = []
  #recorded: Promise<void> = Promise.resolve()
  readonly #uncancelled = new CancellationScope({ cancellable: false })

  /** `host`: told to operators, as soon as it is known. */
  constructor(ref: ExecutionRef, status: RunStatus, host: () => string | null) {
    this.#ref = ref
    this.#status = status
    this.#host = host
  }

  /** `question`: what was asked, where the change follows from that. */
  add(change: Change, question = change.question?.questionId): void {
    this.#status.state = change.state
    this.#waiting.push({ ...this.#ref, key: keyOf(this.#ref, change, question), ...change })
    // What waits with others is recorded with the first of them.
    if (this.#waiting.length === 1) this.#recorded = this.#recorded.then(() => this.#record())
  }

  #record(): Promise<void> {
    const changes = this.#waiting
    this.#waiting = []
    this.show(this.#status.state)
    return this.#uncancelled.run(() => orchestrator.recordStates(changes))
  }

  /** Where the state is already recorded: in Temporal's own tools, and for the workflow's query. */
  show(state: StateChange['state']): void {
    this.#status.state = state
    const hostId = this.#host()
    showState(state, `execution ${this.#ref.execution}${hostId ? ` on ${hostId}` : ''}`)
  }

  /** Something else that has to be done before the execution can be called over. Its failure is its caller's. */
  alsoAwait(work: Promise<unknown>): void {
    const done = work.then(
      () => {},
      () => {}, // Whoever began it is told.
    )
    this.#recorded = this.#recorded.then(() => done)
  }

  /** Resolves when all that was reported so far is recorded. */
  settled(): Promise<void> {
    return this.#recorded
  }
}

/**
 * By what happened and not by its number. What is recorded is recorded for good,
 * and the workflow may come this way once more with mail that it had not then:
 * a worker was killed, or a signal came as the workflow was about to end.
 */
function keyOf({ execution }: ExecutionRef, { state, timeline }: Change, question: string | undefined): string {
  const what = isTerminal(state) ? 'end' : (timeline ?? state)
  return [execution, what, ...(question === undefined ? [] : [question])].join('/')
}
