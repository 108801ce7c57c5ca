// A shared run as a page: what was asked, what was said and what was handed over. It runs no script and loads nothing.
import type { RunArtifact } from '../../domain/artifact.ts'
import { type ConversationMessage, ConversationReader } from '../../domain/conversation.ts'
import type { RunItem } from '../../domain/run.ts'
import type { Queryable } from '../../store/database.ts'
import { readAllEvents } from '../../store/runs/events.ts'
import { escaped, PAGE_END } from './sign-in-page.ts'

/** What follows the beginning of the page, part by part: a conversation may be long. `token`: of the link. */
export async function* sharePage(db: Queryable, run: RunItem, token: string): AsyncGenerator<string> {
  const said = run.status_message?.message
  yield `<h2>${escaped(run.title)}</h2>\n`
  yield `<p>${escaped(run.state)}${said ? `: ${escaped(said)}` : ''}</p>\n`
  yield `<h3>Prompt</h3>\n<pre>${escaped(run.prompt)}</pre>\n`
  if (run.artifacts && run.artifacts.length > 0)
    yield `<h3>Artifacts</h3>\n<ul>\n${run.artifacts.map((artifact) => `<li>${artifactLine(artifact, token)}</li>\n`).join('')}</ul>\n`
  if (run.children.length > 0) yield `<p>Runs that it began: ${run.children.map(escaped).join(', ')}</p>\n`
  yield '<h3>Conversation</h3>\n'
  const reader = new ConversationReader(run.run_id)
  for await (const event of readAllEvents(db, run.run_id))
    for (const piece of reader.read(event)) if (piece.kind === 'message') yield messagePart(piece.message)
  for (const piece of reader.end(null)) if (piece.kind === 'message') yield messagePart(piece.message)
  yield PAGE_END
}

const speakers = { user: 'User', assistant: 'Agent', tool: 'Tool', system: 'Ambient' }

/** What was said, and of tools their names alone: what they were given and gave is in the transcript. */
function messagePart({ role, content }: ConversationMessage): string {
  return content
    .map((part) => {
      if (part.type === 'text')
        return `<section class="${role}"><b>${speakers[role]}</b><pre>${escaped(part.text)}</pre></section>\n`
      return part.type === 'action' ? `<p class="tool">${escaped(part.name)}</p>\n` : ''
    })
    .join('')
}

function artifactLine({ artifact_type: type, data }: RunArtifact, token: string): string {
  const of = data as Readonly<Record<string, unknown>>
  const text = (name: string) => (typeof of[name] === 'string' && of[name] !== '' ? of[name] : null)
  const label = text('title') ?? text('filename') ?? text('description') ?? text('url') ?? type.toLowerCase()
  const uid = text('artifact_uid')
  const kind = type.toLowerCase().replace('_', ' ')
  const stored = uid && `/api/v1/agent/artifacts/${encodeURIComponent(uid)}/download?share=${encodeURIComponent(token)}`
  const href = type === 'PULL_REQUEST' || type === 'EXTERNAL_REFERENCE' ? webAddress(text('url')) : stored
  const name = href
    ? `<a href="${escaped(href)}" rel="noreferrer noopener nofollow">${escaped(label)}</a>`
    : escaped(label)
  return `${name} (${kind})`
}

/** What an agent has reported as an address may be anything. */
const webAddress = (url: string | null): string | null => (url !== null && /^https?:\/\//i.test(url) ? url : null)
