import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../../config.ts'
import { HOST_API } from '../../domain/host-api.ts'
import { startTestApi, type TestApi } from '../../test/support/api.ts'
import { routesOf } from '../../test/support/express-routes.ts'
import { BASE, type Document, type MediaType, openApiDocument, type Schema } from './document.ts'
import { sections } from './index.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

const document = openApiDocument(sections, version)
const told = Object.entries(document.paths).flatMap(([path, { servers, ...operations }]) =>
  Object.entries(operations).map(([method, operation]) => ({
    route: `${method.toUpperCase()} ${servers ? '' : BASE}${path}`,
    operation,
  })),
)

test('every route of the server is in the document, and nothing else is', () => {
  const served = routesOf(api.app)
    // Between server and hosts of one version: no part of the API.
    .filter(({ path }) => !path.startsWith(HOST_API))
    .map(({ method, path }) => `${method.toUpperCase()} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
  expect(served.toSorted()).toEqual(told.map(({ route }) => route).toSorted())
})

test('no two operations have the same name', () => {
  const names = told.map(({ operation }) => operation.operationId)
  expect(names).toEqual([...new Set(names)])
})

describe('every example fits its schema:', () => {
  const ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: true })
  formats.default(ajv)
  ajv.addFormat('base64', true)
  ajv.addSchema(document, 'document')
  test.each(told)('$route', ({ route, operation: { requestBody, responses } }) => {
    const places: [string, { content?: Record<string, MediaType> }][] = [
      ['body', requestBody ?? {}],
      ...Object.entries(responses),
    ]
    const contents = places.flatMap(([where, { content = {} }]) =>
      Object.entries(content).map(([type, { schema, example }]) => ({ what: `${where} ${type}`, schema, example })),
    )
    for (const { what, schema, example } of contents) {
      const validate = ajv.compile(absolute(schema))
      expect(validate(example), `${route} ${what}: ${ajv.errorsText(validate.errors)}`).toBe(true)
    }
  })

  /** Names are those of the document. */
  const absolute = (schema: Schema): Schema =>
    JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"document#/'))
})

describe('what does not fit the document is refused:', () => {
  const limited = told.flatMap(({ route, operation }) =>
    operation.parameters.flatMap((parameter) =>
      route.startsWith('GET ') && !route.includes('{') && 'in' in parameter && parameter.in === 'query'
        ? [{ route, parameter }]
        : [],
    ),
  )
  test.each(
    limited
      .filter(({ parameter: { schema } }) => wrongFor(schema) !== null)
      .map(({ route, parameter: { name, schema } }) => ({ route, name, wrong: wrongFor(schema) })),
  )('$route with $name=$wrong', async ({ route, name, wrong }) => {
    const { status } = await api.call('GET', `${route.slice('GET /api/v1'.length)}?${name}=${wrong}`)
    expect(status).toBe(400)
  })
})

/** A text that a parameter cannot have; null where it can have any. */
function wrongFor(schema: Schema): string | null {
  if (Array.isArray(schema.enum)) return 'nonsense'
  if (schema.type === 'array') return wrongFor((schema.items ?? {}) as Schema)
  if (schema.type === 'integer' || schema.type === 'number')
    return typeof schema.maximum === 'number' ? String(schema.maximum + 1) : 'nonsense'
  return schema.format === 'date-time' || schema.format === 'uuid' || schema.type === 'boolean' ? 'nonsense' : null
}

test('the document and its page are served to anybody, and the page loads nothing', async () => {
  const served = await fetch(`${api.url}/api/v1/openapi.json`)
  expect((await served.json()) as Document).toEqual(JSON.parse(JSON.stringify(document)))
  const page = await fetch(`${api.url}/api/v1/docs`)
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  const html = await page.text()
  for (const { operation } of told) expect(html).toContain(`id="${operation.operationId}"`)
  expect(html).not.toMatch(/<script|<link|<img|@import|url\(/)
})
