// The credentials by which a run's sandbox reaches the model gateway. Only their hashes are kept.
import { randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import type { ProviderName } from '../../domain/harness.ts'
import type { CredentialBinding } from '../../domain/host-api.ts'
import type { HarnessAuthSecrets } from '../../domain/run.ts'
import type { ExecutionRef } from '../../workflows/contract.ts'
import type { Db, Queryable, Tx } from '../database.ts'
import { jsonb } from '../json.ts'
import { writeFenced } from '../locking.ts'
import { hashOfSecret } from '../secret-hash.ts'

/**
 * A new credential of an execution, in place of the one it had; and one for the
 * tools of its agent, beside those it had. `binding`: from where it may be used,
 * until the host says more.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function issueCredentials(
  db: Db,
  { runId, execution }: ExecutionRef,
  binding: CredentialBinding | null = null,
): Promise<{ token: string; toolToken: string }> {
  const token = `amb_${randomBytes(32).toString('base64url')}`
  const tool = newToolToken()
  const given = binding === null ? null : jsonb(binding)
  await writeFenced(
    db,
    { runId, execution },
    sql`
      model as (
        insert into run_credentials (run_id, execution, token_hash, binding)
        select ${runId}::uuid, ${execution}::integer, ${hashOfSecret(token)}, ${given}::jsonb from open
        on conflict (run_id, execution) do update set token_hash = excluded.token_hash, binding = excluded.binding
      ), ${insertToolCredential({ runId, execution }, tool)}
    `,
  )
  return { token, toolToken: tool }
}

/** Whose credential this is, and from where it is good; null when it is nobody's, or no longer. */
export async function findCredential(db: Queryable, token: string): Promise<FoundCredential | null> {
  const row = await db
    .selectFrom('run_credentials')
    .innerJoin('runs', 'runs.id', 'run_credentials.run_id')
    .select(['run_credentials.run_id as runId', 'run_credentials.execution', 'runs.team', 'run_credentials.binding'])
    .select(sql<HarnessAuthSecrets | null>`runs.config -> 'harness_auth_secrets'`.as('auth'))
    .where('token_hash', '=', hashOfSecret(token))
    .executeTakeFirst()
  if (!row) return null
  const { auth, ...found } = row
  const { claude_auth_secret_name: claude, codex_auth_secret_name: codex } = auth ?? {}
  return { ...found, keys: { ...(claude && { anthropic: claude }), ...(codex && { openai: codex }) } }
}

export interface FoundCredential extends ExecutionRef {
  team: string
  binding: CredentialBinding | null
  /** Names of the secrets that are the run's keys. */
  keys: Partial<Record<ProviderName, string>>
}

/** From where the execution's credential may be used. @throws {FencedError} when a newer execution has begun. */
export async function bindCredential(
  db: Db,
  { runId, execution }: ExecutionRef,
  binding: CredentialBinding,
): Promise<void> {
  await writeFenced(
    db,
    { runId, execution },
    sql`
      bound as (
        update run_credentials set binding = ${jsonb(binding)} from open
        where run_id = ${runId} and run_credentials.execution = ${execution}
      )
    `,
  )
}

/** Binds a credential to the address that uses it first. @returns the one that it is bound to; empty: to none. */
export async function claimCredential(db: Queryable, ref: ExecutionRef, address: string): Promise<string> {
  const bound = jsonb<CredentialBinding>({ kind: 'address', address })
  await db
    .updateTable('run_credentials')
    .set({ binding: bound })
    .where('run_id', '=', ref.runId)
    .where('execution', '=', ref.execution)
    .where(sql<string>`binding ->> 'kind'`, '=', 'first')
    .execute()
  const row = await db
    .selectFrom('run_credentials')
    .select('binding')
    .where('run_id', '=', ref.runId)
    .where('execution', '=', ref.execution)
    .executeTakeFirst()
  return row?.binding?.kind === 'address' ? row.binding.address : ''
}

/** Where the credentials of an execution may be used; null: anywhere. */
export async function bindingOf(db: Queryable, { runId, execution }: ExecutionRef): Promise<CredentialBinding | null> {
  const row = await db
    .selectFrom('run_credentials')
    .select('binding')
    .where('run_id', '=', runId)
    .where('execution', '=', execution)
    .executeTakeFirst()
  return row?.binding ?? null
}

export async function revokeCredentials(tx: Tx, runId: string): Promise<void> {
  await tx
    .with('models', (db) => db.deleteFrom('run_credentials').where('run_id', '=', runId))
    .with('tools', (db) => db.deleteFrom('tool_credentials').where('run_id', '=', runId))
    // Of the sandbox, which is gone. A host may still have something to push.
    .deleteFrom('git_tokens')
    .where('run_id', '=', runId)
    .where('for_host', '=', false)
    .execute()
}

/**
 * A credential by which the agent of an execution reaches its tools. Those that
 * it was given before stay good: which of them it took, nobody may know.
 * @throws {FencedError} when a newer execution has begun.
 */
export async function issueToolCredential(db: Db, ref: ExecutionRef): Promise<string> {
  const token = newToolToken()
  await writeFenced(db, ref, insertToolCredential(ref, token))
  return token
}

const newToolToken = () => `amt_${randomBytes(32).toString('base64url')}`

/** For {@link writeFenced}. */
const insertToolCredential = ({ runId, execution }: ExecutionRef, token: string) => sql`
  tool as (
    insert into tool_credentials (token_hash, run_id, execution)
    select ${hashOfSecret(token)}, ${runId}::uuid, ${execution}::integer from open
  )
`

export interface FoundToolCredential extends ExecutionRef {
  /** By which the gateway shows the server that a call has come through it: an agent does not know it. */
  pass: string
}

/** As {@link findCredential}. */
export async function findToolCredential(db: Queryable, token: string): Promise<FoundToolCredential | null> {
  const row = await db
    .selectFrom('tool_credentials')
    .select(['run_id as runId', 'execution', 'pass'])
    .where('token_hash', '=', hashOfSecret(token))
    .executeTakeFirst()
  return row ?? null
}
