// What the Docker daemon's answers mean.
import type Docker from 'dockerode'
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

/** A daemon that is unreachable, or too busy to do anything, as a failure that says so; everything else as it is. */
export function explained(error: unknown, phase: Phase): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const status = statusOf(error)
  if (status === null ? !unreachable.includes(code) : status !== 503) return error
  return new RunFailureError(
    {
      code: 'host_unavailable',
      phase,
      message:
        status === null
          ? `The Docker daemon does not answer (${code}).`
          : `The Docker daemon is too busy: ${messageOf(error)}`,
      nextStep: 'Start the Docker daemon on this host, and see that the worker may use its socket.',
    },
    { cause: error },
  )
}

/** A daemon under load may take a minute to make or remove a container. One that takes longer hangs, and is asked anew. */
const PATIENCE_MS = 3 * 60_000

/**
 * Asks the daemon; one that does not answer is explained. What is asked must be
 * safe to be asked again: an answer that nobody waits for any more may have been
 * carried out.
 */
export async function ask<T>(phase: Phase, question: () => Promise<T>): Promise<T> {
  try {
    return await answered(question())
  } catch (error) {
    throw explained(error, phase)
  }
}

async function answered<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const tooLong = new Promise<never>((_, reject) => {
    const error = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })
    timer = setTimeout(() => reject(error), PATIENCE_MS)
  })
  answer.catch(() => {}) // Nobody may be there any more to hear it.
  return await Promise.race([answer, tooLong]).finally(() => clearTimeout(timer))
}

/** Asks for something that may not be there. */
export async function askFor<T>(phase: Phase, question: () => Promise<T>): Promise<T | null> {
  try {
    return await answered(question())
  } catch (error) {
    if (statusOf(error) === 404) return null
    throw explained(error, phase)
  }
}

/** Kills it, and removes it with its volumes. Idempotent. */
export async function removeContainer(docker: Docker, id: string): Promise<void> {
  try {
    await askFor('dispose', () => docker.getContainer(id).remove({ force: true, v: true }))
  } catch (error) {
    // 409: another caller is removing it, or the daemon by itself.
    if (statusOf(error) !== 409) throw error
  }
}
