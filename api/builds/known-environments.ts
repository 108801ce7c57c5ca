// Lists of stored environments in what a team keeps.
import { unknownEnvironments } from '../../store/builds/environments.ts'
import type { Tx } from '../../store/database.ts'
import { invalid } from '../errors.ts'

/**
 * @throws {HttpError} 400 where the team has no such environment. One that is
 * deleted may stay where it was listed before: `former`.
 */
export async function refuseUnknownEnvironments(
  tx: Tx,
  team: string,
  { field, ids, former = [] }: { field: string; ids: readonly string[]; former?: readonly string[] | undefined },
): Promise<void> {
  const added = ids.filter((id) => !former.includes(id))
  const [unknown] = await unknownEnvironments(tx, team, added)
  if (unknown !== undefined) throw invalid(`${field}: the team has no environment ${unknown}`)
}
