// What is in the object store and nobody names any more goes.

import type { Db } from '../store/database.ts'
import { forgetContent, releaseOldContents, unnamedContents } from '../store/runs/contents.ts'
import type { ObjectStore } from './object-store.ts'

const AT_ONCE = 500

/** `days`: how long contents are kept after their run has ended; 0 for as long as the run. */
export async function dropContents(db: Db, objects: ObjectStore, days: number): Promise<void> {
  if (days > 0) await releaseOldContents(db, days)
  for (;;) {
    const unnamed = await unnamedContents(db, AT_ONCE)
    for (const uid of unnamed) {
      // The object first: whoever dies in between leaves a row that leads here again.
      await objects.remove(uid)
      await forgetContent(db, uid)
    }
    if (unnamed.length < AT_ONCE) return
  }
}
