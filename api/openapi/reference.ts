// The OpenAPI document and its reading page, for anybody: they say nothing that the source does not.
import { createHash } from 'node:crypto'
import { Router } from 'express'
import { version } from '../../config.ts'
import { onlyMethods } from '../parse.ts'
import { openApiDocument } from './document.ts'
import { sections } from './index.ts'
import { pageOf, STYLE } from './page.ts'

/** There is nothing to load and nothing to run: one page, and its style. */
const POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function referenceRoutes(): Router {
  const router = Router()
  const made = madeOnce()

  router
    .route('/openapi.json')
    .get((_request, response) => {
      response.type('application/json').send(made().text)
    })
    .all(onlyMethods('GET'))

  router
    .route('/docs')
    .get((_request, response) => {
      response.set('content-security-policy', POLICY).set('x-content-type-options', 'nosniff')
      response.type('html').send(made().page)
    })
    .all(onlyMethods('GET'))

  return router
}

/** A tenth of a second's work, for whoever asks first. */
function madeOnce(): () => { text: string; page: string } {
  let made: { text: string; page: string } | null = null
  return () => {
    if (made === null) {
      const document = openApiDocument(sections, version)
      made = { text: JSON.stringify(document), page: pageOf(document) }
    }
    return made
  }
}
