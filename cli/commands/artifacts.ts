// `ambient artifacts`: what runs have handed over beside their repositories.
import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { typed } from '../../config.ts'
import type { RunArtifact } from '../../domain/artifact.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { findRun } from '../input.ts'
import { artifactLabel, artifactUid } from '../render/artifact.ts'
import { table } from '../render/table.ts'
import { clean, oneLine, size } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export async function artifacts(given: string, { json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const { artifacts: list } = await api.get(await findRun(api, given))
  if (json) screen.write(`${JSON.stringify({ artifacts: list })}\n`)
  else if (list.length === 0) screen.write('The run has handed over nothing beside its repositories.\n')
  else screen.write(table(['UID', 'TYPE', 'WHAT', 'SIZE', 'TIME'], list.map(rowOf), screen.style.colours.dim))
  return exitCodes.succeeded
}

function rowOf(artifact: RunArtifact): string[] {
  const { data } = artifact
  const bytes = 'size_bytes' in data && typeof data.size_bytes === 'number' ? size(data.size_bytes) : ''
  const what = oneLine(artifactLabel(artifact), 80)
  return [artifactUid(artifact) ?? '', artifact.artifact_type, what, bytes, artifact.created_at]
}

export interface ArtifactOptions {
  output?: string
  json?: boolean
}

/** Writes the content to stdout, or to a file. A link has none: its address is printed. */
export async function artifact(uid: string, { output, json }: ArtifactOptions): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  const found = await api.artifacts.get(uid)
  if (json) {
    screen.write(`${JSON.stringify(found)}\n`)
    return exitCodes.succeeded
  }
  if (found.artifact_type === 'PULL_REQUEST' || found.artifact_type === 'EXTERNAL_REFERENCE') {
    if (output !== undefined) throw usageError(`The artifact ${uid} is a link and has no content.`)
    screen.write(`${clean(String((found.data as { url?: unknown }).url))}\n`)
    return exitCodes.succeeded
  }
  if (output === undefined && process.stdout.isTTY && found.artifact_type === 'SCREENSHOT')
    throw usageError('A picture is not for a terminal.', `${typed} artifacts get ${uid} --output picture.png`)
  const content = await api.artifacts.download(uid)
  if (output === undefined) {
    await new Promise<void>((resolve) => process.stdout.write(content, () => resolve()))
    return exitCodes.succeeded
  }
  await writeFile(output, content).catch((error: NodeJS.ErrnoException) => {
    throw usageError(`The file ${output} cannot be written (${error.code}).`)
  })
  screen.note(`${basename(output)}: ${size(content.length)}`)
  return exitCodes.succeeded
}
