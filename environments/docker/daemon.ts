// What the Docker daemon's answers mean.
import { RunFailureError } from '../../domain/failure.ts'
import type { Phase } from '../../domain/state.ts'

/** The daemon's HTTP status, or null where it did not answer. */
export function statusOf(error: unknown): number | null {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : null
}

/** What the daemon said, without the client's wrapping. */
export function messageOf(error: unknown): string {
  if (error instanceof Error && 'json' in error) {
    const { json } = error
    if (typeof json === 'object' && json !== null && 'message' in json && typeof json.message === 'string') {
      return json.message
    }
  }
  return error instanceof Error ? error.message : String(error)
}

const unreachable = ['ECONNREFUSED', 'ENOENT', 'EACCES', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND']

/** An unreachable daemon as a failure that says so; everything else as it is. */
export function explained(error: unknown, phase: Phase): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (statusOf(error) !== null || !unreachable.includes(code)) return error
  return new RunFailureError(
    {
      code: 'host_unavailable',
      phase,
      message: `The Docker daemon does not answer (${code}).`,
      nextStep: 'Start the Docker daemon on this host, and see that the worker may use its socket.',
    },
    { cause: error },
  )
}

/** Asks the daemon; an unreachable one is explained. */
export async function ask<T>(phase: Phase, question: () => Promise<T>): Promise<T> {
  try {
    return await question()
  } catch (error) {
    throw explained(error, phase)
  }
}

/** Asks for something that may not be there. */
export async function askFor<T>(phase: Phase, question: () => Promise<T>): Promise<T | null> {
  try {
    return await question()
  } catch (error) {
    if (statusOf(error) === 404) return null
    throw explained(error, phase)
  }
}
