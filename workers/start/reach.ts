// Whether a database or a Temporal server that was set answers: looked at before anything that needs it is started.
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { z } from 'zod'
import { type HelperOptions, runHelper } from './helper.ts'

/** Something that is just being started is waited for this long, in milliseconds. */
const PATIENCE_MS = 10_000
const ATTEMPT_MS = 3_000

/** @throws an error that names DATABASE_URL, when it does not answer in 10 s or lets nobody in. Its password is not told. */
export async function requireDatabase(url: string, signal: AbortSignal): Promise<void> {
  const { hostname, port, pathname, username } = new URL(url)
  const place = `${hostname}:${port || 5432}`
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const error = await tryDatabase(url)
    if (error === null) return
    const code = String((error as NodeJS.ErrnoException).code ?? '')
    if (code.startsWith('28') || code === '3D000') {
      throw new Error(
        `DATABASE_URL: Postgres at ${place} does not let "${username}" into the database "${pathname.slice(1)}" ` +
          `(${error.message}). Correct the user, the password or the name in DATABASE_URL, or unset it: Ambient then brings a Postgres of its own.`,
        { cause: error },
      )
    }
    if (Date.now() > deadline) {
      throw new Error(
        `DATABASE_URL: no Postgres answers at ${place} (${code || error.message}). ` +
          'Start it, correct DATABASE_URL, or unset it: Ambient then brings a Postgres of its own.',
        { cause: error },
      )
    }
    await delay(500, undefined, { signal })
  }
}

async function tryDatabase(url: string): Promise<Error | null> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: ATTEMPT_MS })
  client.on('error', () => {}) // Told by the call that it breaks.
  try {
    await client.connect()
    await client.query('select 1')
    return null
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    // The connection may never have been one.
    await Promise.race([client.end().catch(() => {}), delay(500, undefined, { ref: false })])
  }
}

export const TemporalCheck = z.object({
  problem: z.enum(['away', 'refused', 'namespace']).nullable(),
  reason: z.string(),
})
export type TemporalCheck = z.infer<typeof TemporalCheck>

/** @throws an error that names the setting, when the Temporal server that was set does not answer in 10 s, or has no such namespace. */
export async function requireTemporal(address: string, namespace: string, options: HelperOptions): Promise<void> {
  const { problem, reason } = TemporalCheck.parse(
    await runHelper('temporal-check.ts', [String(PATIENCE_MS), String(ATTEMPT_MS)], options),
  )
  switch (problem) {
    case null:
      return
    case 'namespace':
      throw new Error(
        `TEMPORAL_NAMESPACE: the Temporal server at ${address} has no namespace "${namespace}". ` +
          `Make it (temporal operator namespace create --address ${address} --namespace ${namespace}), or set TEMPORAL_NAMESPACE to one that is there.`,
      )
    case 'refused':
      throw new Error(
        `TEMPORAL_ADDRESS: the Temporal server at ${address} refuses the connection (${reason}). ` +
          'Set TEMPORAL_API_KEY, TEMPORAL_TLS and their kin as for its own command line; docs/settings.md says more.',
      )
    case 'away':
      throw new Error(
        `TEMPORAL_ADDRESS: no Temporal server answers at ${address} (${reason}). ` +
          'Start it, correct TEMPORAL_ADDRESS, or unset it: Ambient then brings a Temporal server of its own.',
      )
  }
}
