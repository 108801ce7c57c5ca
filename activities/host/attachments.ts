// Runs on the worker that holds the sandbox. Files that came with a message, for the agent to find.
import { imageTypes } from '../../domain/artifact.ts'
import type { MessageText } from '../../domain/host-api.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeFilesBelow } from '../../environments/inside-directory.ts'
import type { Execution } from './execution.ts'

type Attached = NonNullable<MessageText['attachments']>

export interface Brought {
  /** Told to the agent before the message. */
  note: string | null
  /** For agents that take pictures within a prompt. */
  images: { mimeType: string; data: string }[]
}

/** In the workspace, beside the repositories: what they are made of stays as it is. */
const DIRECTORY = '.ambient/attachments'

/** Puts them into a directory of the workspace. Safe to repeat. */
export async function bringAttachments(
  { deps, ref, state, stop }: Execution,
  sandbox: Sandbox | null,
  messageId: string,
  attached: Attached,
): Promise<Brought> {
  const brought: Brought = { note: null, images: [] }
  if (attached.length === 0) return brought
  const owner = sandbox?.owner ?? state.get().devcontainer?.user ?? deps.host.owner
  // Messages that were overtaken may have files of the same name.
  const directory = `${DIRECTORY}/${messageId.slice(0, 8)}`
  const { workspace } = deps.host.paths(ref.runId, null)
  const lines: string[] = []
  for (const [index, { uid, file_name: name, mime_type: mimeType, bytes }] of attached.entries()) {
    if (bytes === null) {
      lines.push(`- ${name} (${mimeType}), which is not kept any more`)
      continue
    }
    const content = await deps.server.attachment(ref.runId, uid, stop)
    const isTaken = attached.findIndex((other) => other.file_name === name) < index
    const path = `${directory}/${isTaken ? `${index + 1}-` : ''}${name}`
    await writeFilesBelow(state.paths.workspace, [{ path, content }], owner)
    lines.push(`- ${workspace}/${path} (${mimeType})`)
    if (imageTypes.includes(mimeType)) brought.images.push({ mimeType, data: content.toString('base64') })
  }
  brought.note = `Files came with the following message. They are here:\n${lines.join('\n')}`
  return brought
}
