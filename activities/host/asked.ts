// Runs on the worker that holds the sandbox. What an agent has asked for by its tools, now that its turn has ended.
import { join, posix } from 'node:path'
import { isErrno } from '../../environments/errno.ts'
import { readBounded } from '../../environments/job-directory.ts'
import { UntrustedFileError } from '../../environments/no-links.ts'
import type { AgentQuestion } from '../../workflows/contract.ts'
import { type Execution, workingDirectory } from './execution.ts'

/** Longest that one file may take on its way, in milliseconds: the run does not wait for an object store that is away. */
const SEND_MS = 120_000

/** Hands over the files that the agent has reported, and answers with what it wants to know of a person. */
export async function takeAsked(execution: Execution): Promise<AgentQuestion | null> {
  const { deps, ref, stop } = execution
  const asked = await deps.server.asked(ref.runId, ref.execution, stop)
  for (const { artifact_uid: uid, path } of asked.files) {
    const refusal = await handOver(execution, uid, path, asked.max_file_bytes)
    if (refusal !== null) await deps.server.refuseArtifact(ref.runId, ref.execution, uid, refusal, stop)
  }
  return asked.stopped ?? asked.question
}

/** What the run waits for, where a model call of its turn was not passed on for want of money. */
export async function whatStopped({ deps, ref, stop }: Execution): Promise<AgentQuestion | null> {
  return (await deps.server.asked(ref.runId, ref.execution, stop)).stopped
}

/** @returns why it could not be handed over; null when it was. */
async function handOver(execution: Execution, uid: string, path: string, maxBytes: number): Promise<string | null> {
  const { deps, ref, redactor, stop } = execution
  const content = await readReported(execution, path, maxBytes)
  if (typeof content === 'string') return content
  if (redactor.has(content.toString('utf8'))) return 'it has the value of a secret in it'
  const late = AbortSignal.timeout(SEND_MS)
  try {
    await deps.server.sendArtifact(ref.runId, ref.execution, uid, content, AbortSignal.any([stop, late]))
    return null
  } catch (error) {
    if (!late.aborted || stop.aborted) throw error
    return 'the object store did not take it'
  }
}

/** A file of the workspace, whatever the agent has made of the way to it; or why it cannot be had. */
async function readReported(execution: Execution, path: string, maxBytes: number): Promise<Buffer | string> {
  const { deps, ref, order, state } = execution
  const { workspace } = deps.host.paths(ref.runId, null)
  // As the agent sees it, and from where it works.
  const below = posix.relative(workspace, posix.resolve(workingDirectory(workspace, order), path))
  if (below === '' || below === '..' || below.startsWith('../')) return `it is not in the workspace, ${workspace}`
  if (below.includes('\0')) return 'that is not the path of a file'
  try {
    const content = await readBounded(join(state.paths.workspace, below), maxBytes)
    if (content === 'too large')
      return `it is larger than ${Math.floor(maxBytes / 1024 ** 2)} MiB, which is the most (AMBIENT_ARTIFACT_MB)`
    return content ?? 'there was no such file when the turn ended'
  } catch (error) {
    if (error instanceof UntrustedFileError || isErrno(error, 'EISDIR'))
      return 'it is no regular file, or a symbolic link is on the way to it'
    if (isErrno(error, 'EACCES', 'EPERM', 'ENAMETOOLONG')) return 'it cannot be read'
    throw error
  }
}
