// What the two public look-ups answer.
import { z } from 'zod'

/** `GET /agent/conversations/{id}/redirect` */
export const ConversationRedirect = z
  .object({
    session_id: z
      .uuid()
      .optional()
      .describe('Absent: nothing of the conversation is at work, or there is no such conversation.'),
  })
  .meta({ id: 'ConversationRedirect' })
export type ConversationRedirect = z.infer<typeof ConversationRedirect>

/** `GET /agent/sessions/{uuid}/redirect` */
export const SessionRedirect = z
  .object({ conversation_id: z.uuid().optional().describe('Absent: there is no such session.') })
  .meta({ id: 'SessionRedirect' })
export type SessionRedirect = z.infer<typeof SessionRedirect>
