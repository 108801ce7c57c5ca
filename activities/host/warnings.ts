// Runs on the worker that holds the sandbox. What people are warned of while a workspace is made: who begins from it hears the same.
import type { RunState } from './deps.ts'
import type { Execution } from './execution.ts'

/**
 * Those that are noted, and these, each once: a step that is repeated warns
 * again. Without secret values, for runs that begin from it may have others to
 * hide.
 */
export function withWarnings(
  { state, redactor }: Pick<Execution, 'state' | 'redactor'>,
  warnings: RunState['warned'],
): Pick<RunState, 'warned'> {
  const all = [...state.get().warned, ...warnings.map((warning) => redactor.value(warning))]
  return { warned: [...new Map(all.map((warning) => [warning.message, warning])).values()] }
}
