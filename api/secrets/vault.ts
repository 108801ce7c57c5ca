// The vault, for operators: under which keys values are sealed, and the change to another key.
import { Router } from 'express'
import { sql } from 'kysely'
import { RotateVault, type VaultRotation } from '../../domain/vault/vault-state.ts'
import { rotate, vaultState } from '../../secrets/vault/rotation.ts'
import { note } from '../../store/audit.ts'
import type { Db } from '../../store/database.ts'
import { callerOf, permit } from '../access/caller.ts'
import type { ApiDeps } from '../deps.ts'
import { HttpError } from '../errors.ts'
import { onlyMethods, parseBody } from '../parse.ts'
import { refuseUnknown } from '../runs/unknown-fields.ts'
import { fieldsOf } from '../runs/unsupported.ts'

export function vaultRoutes({ db, vault, log }: Pick<ApiDeps, 'db' | 'vault' | 'log'>): Router {
  const router = Router()

  router
    .route('/vault')
    .get(permit('vault.manage'), async (_request, response) => {
      response.json(await vaultState(db, vault))
    })
    .all(onlyMethods('GET'))

  router
    .route('/vault/rotate')
    .post(permit('vault.manage'), async (request, response) => {
      refuseUnknown('', fieldsOf(request.body), RotateVault)
      const { new_key: isNew } = parseBody(RotateVault, request)
      if (isNew) {
        if (vault.ring.addKey === null)
          throw new HttpError(
            409,
            'conflict',
            `new_key: the keys are ${vault.ring.source}. Put the new one before the others there, start the server and the gateway again, and rotate.`,
          )
        await addKey(db, vault.ring.addKey)
      }
      const rewrapped = await rotate(db, vault)
      const state = await vaultState(db, vault)
      await db.transaction().execute((tx) =>
        note(tx, {
          caller: callerOf(response),
          action: 'vault.rotate',
          thing: { type: 'vault', uid: state.keys[0] ?? 'none', team: null },
          detail: { rewrapped, new_key: isNew },
        }),
      )
      log.info({ key: state.keys[0], rewrapped }, 'the vault has another key')
      response.json({ ...state, rewrapped } satisfies VaultRotation)
    })
    .all(onlyMethods('POST'))

  return router
}

/** One at a time, whichever server: of two that write the file at once, one would lose its key with all that is sealed under it. */
const addKey = (db: Db, add: () => Promise<void>): Promise<void> =>
  db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(hashtextextended('vault key', 0))`.execute(tx)
    await add()
  })
