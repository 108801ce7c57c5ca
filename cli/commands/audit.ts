// `ambient audit`: who did what, and whether the record of it is what was written.
import type { AuditEntry } from '../../domain/audit.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Style } from '../render/style.ts'
import { table } from '../render/table.ts'
import { clean } from '../render/text.ts'
import { createScreen } from '../screen.ts'

export interface AuditOptions {
  action?: readonly string[]
  actor?: string
  thing?: string
  since?: string
  until?: string
  all?: boolean
  limit: number
  json?: boolean
}

export interface VerifyOptions {
  known?: string
  json?: boolean
}

export async function audit(options: AuditOptions): Promise<ExitCode> {
  const screen = createScreen()
  const { entries } = await connect().audit.list({
    action: options.action,
    actor: options.actor,
    thing: options.thing,
    created_after: options.since,
    created_before: options.until,
    all: options.all ? 'true' : undefined,
    limit: String(options.limit),
  })
  const inOrder = entries.toReversed()
  if (options.json) screen.write(inOrder.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
  else if (inOrder.length === 0) screen.write('There is no such entry.\n')
  else screen.write(renderAudit(inOrder, screen.style))
  return exitCodes.succeeded
}

export const renderAudit = (entries: readonly AuditEntry[], { colours }: Style): string =>
  table(
    ['', 'TIME', 'WHO', 'ACTION', 'THING', 'FROM', 'DETAIL'],
    entries.map(({ position, occurred_at: time, actor, action, thing, address, detail }) => [
      String(position),
      time,
      clean(actor.name ?? actor.uid),
      clean(action),
      thing === null ? '' : clean(`${thing.type} ${thing.uid}`),
      clean(address ?? ''),
      Object.entries(detail)
        .map(([name, value]) => clean(`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`))
        .join(' '),
    ]),
    colours.dim,
  )

export async function verify({ known, json }: VerifyOptions): Promise<ExitCode> {
  const screen = createScreen()
  const found = await connect().audit.verify(known)
  const { intact, head, broken_at: brokenAt } = found
  if (json) screen.write(`${JSON.stringify(found)}\n`)
  else if (intact)
    screen.write(
      `The audit log is what was written${known === undefined ? '' : ', and has the entry that was noted'}. Its newest entry, to be noted elsewhere:\n${head.position}:${head.hash}\n`,
    )
  else screen.write(`The audit log was changed: entry ${brokenAt} is not what was written.\n`)
  return intact ? exitCodes.succeeded : exitCodes.failed
}
