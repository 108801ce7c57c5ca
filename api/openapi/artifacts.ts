import { z } from 'zod'
import { Artifact, HandoffAttachments } from '../../domain/artifact.ts'
import { json, type Section } from './declaration.ts'
import { createdAt } from './examples.ts'

const uid = 'Qm7Xb2vT9kLr4wYc1Hn8Zd'
const link = 'https://ambient.example/links/contents/…?expires=1769864400&signature=…'

const file = {
  artifact_uid: uid,
  artifact_type: 'FILE',
  created_at: createdAt,
  data: {
    download_url: link,
    expires_at: '2026-01-31T13:00:00.000Z',
    content_type: 'text/csv',
    filename: 'report.csv',
    filepath: 'out/report.csv',
    size_bytes: 1843,
  },
}

export const artifacts: Section = {
  name: 'Artifacts',
  description: 'What runs hand over beside their repositories: plans, screenshots, files, pull requests, references.',
  routes: [
    {
      method: 'get',
      path: '/agent/artifacts/{uid}',
      id: 'getArtifact',
      summary: 'Read an artifact',
      description: 'The link in it needs no key, and ends with `expires_at`. A plan has its text.',
      answers: { 200: json(Artifact, file) },
    },
    {
      method: 'get',
      path: '/agent/artifacts/{uid}/download',
      id: 'downloadArtifact',
      summary: 'Download an artifact',
      answers: {
        302: { description: 'To a link that needs no key.', headers: { Location: 'The link.' } },
      },
      errors: {
        404: 'There is no such artifact; or it has no content, is still to be fetched, or is not kept any more.',
      },
    },
    {
      method: 'get',
      path: '/agent/runs/{runId}/handoff/attachments',
      id: 'listHandoffAttachments',
      summary: 'List what the latest ended execution has handed over',
      answers: {
        200: json(HandoffAttachments, {
          attachments: [{ attachment_id: uid, filename: 'report.csv', download_url: link, mime_type: 'text/csv' }],
        }),
      },
    },
    {
      method: 'get',
      path: '/links/contents/{uid}/{mimeType}/{fileName}',
      root: true,
      id: 'fetchContent',
      summary: 'Fetch a content by a link',
      description: 'Links are made by the routes above, each for one content and until a time.',
      open: true,
      query: z.object({
        expires: z.number().int().describe('Seconds since 1970.'),
        signature: z.string().describe('Of the path and `expires`, by the server.'),
      }),
      answers: {
        200: {
          description: 'The content, as an attachment.',
          content: { 'application/octet-stream': { schema: z.string(), example: 'a,b\n1,2\n' } },
        },
      },
      errors: { 403: 'The link is not valid, or not any more.' },
    },
  ],
}
