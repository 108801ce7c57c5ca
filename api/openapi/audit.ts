import { AuditPage, AuditQuery, AuditVerification, AuditVerifyQuery } from '../../domain/audit.ts'
import { json, type Section } from './declaration.ts'
import { createdAt, environmentUid } from './examples.ts'

const hash = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'

const entry = {
  position: 4711,
  occurred_at: createdAt,
  action: 'environments.update',
  actor: { type: 'operator', uid: 'operator', name: 'Operator', key_uid: null },
  address: '192.0.2.7',
  user_agent: 'ambient-cli/0.1.0',
  team: 'default',
  thing: { type: 'environment', uid: environmentUid },
  detail: { name: 'web' },
  hash,
}

export const audit: Section = {
  name: 'Audit log',
  description: 'Who did what, when, from where, to which thing. It is only ever added to.',
  routes: [
    {
      method: 'get',
      path: '/agent/audit-log',
      id: 'listAuditEntries',
      summary: 'List entries of the audit log',
      description: 'Those about the active team.',
      query: AuditQuery,
      answers: { 200: json(AuditPage, { entries: [entry], page_info: { has_next_page: false } }) },
    },
    {
      method: 'get',
      path: '/agent/audit-log/verify',
      id: 'verifyAuditLog',
      summary: 'Check that the audit log is what was written',
      description: 'Reads the log of all teams, and computes every hash anew.',
      query: AuditVerifyQuery,
      answers: {
        200: json(AuditVerification, { intact: true, head: { position: 4711, hash }, broken_at: null, known: null }),
      },
    },
  ],
}
