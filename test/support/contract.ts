// Holds the answers of a server to what its OpenAPI document says of each route.
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { RouteDeclaration } from '../../api/openapi/declaration.ts'
import { BASE, openApiDocument } from '../../api/openapi/document.ts'
import { sections } from '../../api/openapi/index.ts'

const routes = sections
  .flatMap((section) => section.routes)
  .map((route) => ({
    route,
    pattern: new RegExp(
      `^${route.root ? '' : BASE}${route.path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}/?$`,
    ),
    parameters: route.path.split('{').length,
  }))
  // `/keys` before `/{uid}`, as the routers have it.
  .sort((a, b) => a.parameters - b.parameters)

export interface Answered {
  method: string
  /** With its query. */
  target: string
  status: number
  type: string | null
  body: unknown
}

/** @throws when the document does not say that a request can be answered so. */
export function holdToDocument({ method, target, status, type, body }: Answered): void {
  const wrong = (what: string) => new Error(`${method} ${target} → ${status}: ${what}`)
  const media = type?.split(';')[0]?.trim() ?? null
  const place = target.split('?')[0] ?? ''
  const found = routes.find(({ pattern, route }) => pattern.test(place) && route.method === method.toLowerCase())
  if (!found) {
    if (status >= 400 && media !== 'application/problem+json') throw wrong(`an error as ${media}`)
    if (status < 400 && place.startsWith(BASE)) throw wrong('is in no declaration of api/openapi')
    return
  }
  const { route } = found
  const contract = contractOf(route)
  const answer = contract.responses[status]
  if (!answer) throw wrong(`there are only ${Object.keys(contract.responses).join(', ')} in api/openapi`)
  if (!answer.content) {
    // A redirect says in words where it goes, for nobody.
    if (body !== '' && (status < 300 || status >= 400)) throw wrong('has a body')
    return
  }
  if (media === null || !answer.content[media])
    throw wrong(`is ${media}, and not ${Object.keys(answer.content).join(', ')}`)
  const validate = contract.validator(status, media)
  if (!validate(body)) throw wrong(`${contract.ajv.errorsText(validate.errors, { dataVar: 'body' })}\n${excerpt(body)}`)
}

const contracts = new Map<RouteDeclaration, ReturnType<typeof makeContract>>()

/** Made for the routes that a test asks for, when it does. */
function contractOf(route: RouteDeclaration) {
  const made = contracts.get(route) ?? makeContract(route)
  contracts.set(route, made)
  return made
}

function makeContract(route: RouteDeclaration) {
  const document = openApiDocument([{ name: 'one', description: 'One.', routes: [route] }], '1')
  const operation = document.paths[route.path]?.[route.method]
  if (!operation) throw new TypeError(`${route.id} is not in its document`)
  const ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: true })
  formats.default(ajv)
  ajv.addFormat('base64', true)
  ajv.addSchema(closed(document), 'document')
  const { responses } = operation
  return {
    ajv,
    responses,
    validator(status: number, media: string) {
      const pointer = ['paths', route.path, route.method, 'responses', status, 'content', media, 'schema']
      const validate = ajv.getSchema(`document#/${pointer.map(escaped).join('/')}`)
      if (!validate) throw new TypeError(`${route.id} has no schema for ${status} ${media}`)
      return validate
    },
  }
}

const escaped = (part: string | number) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1'))

const excerpt = (body: unknown) => (JSON.stringify(body) ?? '').slice(0, 2_000)

/** Clients are told to expect further fields. Here each has to be in the document. */
function closed<T>(value: T): T {
  if (Array.isArray(value)) return value.map(closed) as T
  if (value === null || typeof value !== 'object') return value
  const inner = Object.fromEntries(
    Object.entries(value).map(([key, part]) => [key, key === 'example' ? part : closed(part)]),
  )
  const isOpen = typeof inner.properties === 'object' && !('additionalProperties' in inner) && !('$ref' in inner)
  return (isOpen ? { ...inner, additionalProperties: false } : inner) as T
}
