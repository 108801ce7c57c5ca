// Runs on the worker that holds the sandbox. Tells from where the sandbox's credential may be used.
import { z } from 'zod'
import type { CredentialBinding, RunCredential } from '../../domain/host-api.ts'
import type { Sandbox } from '../../environments/host.ts'
import type { Execution } from './execution.ts'

/** The gateway answers within milliseconds. */
const ASK_MS = 3_000

const Seen = z.object({ own: z.boolean() })

/** One for a sandbox that is not there yet: {@link bindCredential} tells of it. */
export const unboundCredential = ({ deps, ref, stop }: Execution): Promise<RunCredential> =>
  deps.server.credential(ref.runId, ref.execution, { binds: deps.bindsCredentials, binding: null }, stop)

/** One that is good in this sandbox and nowhere else. */
export async function boundCredential(execution: Execution, sandbox: Sandbox): Promise<RunCredential> {
  const { deps, ref, stop } = execution
  if (!deps.bindsCredentials) return await unboundCredential(execution)
  const from = { binds: true, binding: await bindingOf(sandbox, deps.gatewayUrl) }
  const credential = await deps.server.credential(ref.runId, ref.execution, from, stop)
  // A server of an older version has not read that.
  if (!credential.bound) await bindCredential(execution, sandbox)
  return credential
}

/** Tells the server, so that the credential is good there and nowhere else. */
export async function bindCredential({ deps, ref, stop }: Execution, sandbox: Sandbox): Promise<void> {
  if (!deps.bindsCredentials) return
  await deps.server.bind(ref.runId, ref.execution, await bindingOf(sandbox, deps.gatewayUrl), stop)
}

/**
 * A gateway that is reached without a relay, a published port or another machine
 * between sees who calls it. Behind those all sandboxes of a host look the same:
 * the address that is seen first is then the one that counts.
 */
export async function bindingOf(sandbox: Sandbox, gatewayUrl: string): Promise<CredentialBinding> {
  const from = await sandbox.callsFrom()
  if (from.kind === 'pass') return from
  return (await seesMachine(gatewayUrl)) ? from : { kind: 'first' }
}

/** A gateway that is started anew may be reached in another way. */
const SEEN_MS = 10_000
/** Until when each gateway is known to see this machine. */
const seen = new Map<string, number>()

/** Whether the gateway sees this machine's processes at an address that is its own. */
async function seesMachine(gatewayUrl: string): Promise<boolean> {
  if ((seen.get(gatewayUrl) ?? 0) > Date.now()) return true
  try {
    const answer = await fetch(`${gatewayUrl}/whoami`, { signal: AbortSignal.timeout(ASK_MS) })
    const { own } = Seen.parse(await answer.json())
    if (own) seen.set(gatewayUrl, Date.now() + SEEN_MS)
    return own
  } catch {
    // It is away, or of another version: what it sees is then found out by what it sees.
    return false
  }
}
