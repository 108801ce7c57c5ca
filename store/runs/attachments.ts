// Files that people send with a message.
import type { Queryable, Tx } from '../database.ts'
import { newUid } from '../uid.ts'

export interface NewAttachment {
  fileName: string
  mimeType: string
  contentUid: string
}

/** The files of a message, in their order. */
export async function attach(
  tx: Tx,
  message: { runId: string; mailId: string },
  files: readonly NewAttachment[],
): Promise<void> {
  if (files.length === 0) return
  const rows = files.map(({ fileName, mimeType, contentUid }, position) => ({
    uid: newUid(),
    run_id: message.runId,
    mail_id: message.mailId,
    position,
    file_name: fileName,
    mime_type: mimeType,
    content_uid: contentUid,
  }))
  await tx.insertInto('attachments').values(rows).execute()
}

/** What came with a message; `bytes` is null for what is not kept any more. */
export async function attachmentsOf(db: Queryable, mailId: string) {
  return await db
    .selectFrom('attachments')
    .leftJoin('contents', 'contents.uid', 'attachments.content_uid')
    .select(['attachments.uid', 'file_name', 'mime_type', 'contents.bytes'])
    .where('mail_id', '=', mailId)
    .orderBy('position')
    .execute()
}

/** The content of one attachment of a run; null where there is none, or none any more. */
export async function attachmentContent(db: Queryable, runId: string, uid: string): Promise<string | null> {
  const row = await db
    .selectFrom('attachments')
    .select('content_uid')
    .where('uid', '=', uid)
    .where('run_id', '=', runId)
    .executeTakeFirst()
  return row?.content_uid ?? null
}
