// What skills say and their files, each once however many environments and runs have it.
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { sql } from 'kysely'
import { z } from 'zod'
import { SkillFile } from '../../domain/configuration/skill.ts'
import type { Queryable, Tx } from '../database.ts'

export interface SkillContent {
  text: string
  files: readonly SkillFile[]
}

/** Writes it unless it is there. @returns its hash, which stays good until the end of the transaction at the least. */
export async function keepContent(tx: Tx, { text, files }: SkillContent): Promise<string> {
  const listed = JSON.stringify(files)
  const hash = createHash('sha256')
    .update(`${Buffer.byteLength(text)}\n${text}${listed}`)
    .digest('hex')
  await tx
    .insertInto('skill_contents')
    .values({ hash, text, files: gzipSync(listed) })
    // An update locks the row: whoever drops what nobody uses waits, and then sees that it is used.
    .onConflict((conflict) => conflict.column('hash').doUpdateSet({ hash }))
    .execute()
  return hash
}

/** Drops those of these that no environment and no run has any more. */
export async function dropUnused(tx: Tx, hashes: readonly string[]): Promise<void> {
  if (hashes.length === 0) return
  await sql`
    delete from skill_contents
    where hash = any(${hashes}::text[])
      and not exists (select from skills where skills.content = hash)
      and not exists (select from run_skills where run_skills.content = hash)
  `.execute(tx)
}

/** By their hashes; without files where they are not asked for. */
export async function skillContents(
  db: Queryable,
  hashes: readonly string[],
  { withFiles }: { withFiles: boolean },
): Promise<Map<string, SkillContent>> {
  if (hashes.length === 0) return new Map()
  const rows = await db
    .selectFrom('skill_contents')
    .select(['hash', 'text'])
    .$if(withFiles, (query) => query.select('files'))
    .where('hash', 'in', hashes)
    .execute()
  return new Map(rows.map(({ hash, text, files }) => [hash, { text, files: files ? unpacked(files) : [] }]))
}

const unpacked = (files: Buffer): SkillFile[] => z.array(SkillFile).parse(JSON.parse(gunzipSync(files).toString()))
