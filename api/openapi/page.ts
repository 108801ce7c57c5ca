// The OpenAPI document as a page to read: one file without scripts, so that it opens anywhere and loads nothing.
import type { Document, MediaType, Operation, Parameter, Schema } from './document.ts'
import { BASE } from './document.ts'

export function pageOf(document: Document): string {
  const operations = Object.entries(document.paths).flatMap(([path, { servers, ...methods }]) =>
    Object.entries(methods).map(([method, operation]) => ({
      operation,
      method: method.toUpperCase(),
      path: servers ? path : `${BASE}${path}`,
    })),
  )
  const ofTag = (tag: string) => operations.filter(({ operation }) => operation.tags[0] === tag)
  const schemas = Object.entries(document.components.schemas)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${text(document.info.title)}: the HTTP API</title>
<style>${STYLE}</style>
</head>
<body>
<nav>
<a href="#top">${text(document.info.title)} ${text(document.info.version)}</a>
${document.tags.map(({ name }) => `<h2>${text(name)}</h2>\n<ul>${ofTag(name).map(linkTo).join('')}</ul>`).join('\n')}
<h2>Schemas</h2>
<ul>${schemas.map(([name]) => `<li><a href="#schema-${name}">${name}</a></li>`).join('')}</ul>
</nav>
<main id="top">
<h1>The HTTP API of ${text(document.info.title)}</h1>
${words(document.info.description)}
<p>The same for programs: <a href="${BASE}/openapi.json">openapi.json</a></p>
${document.tags
  .map(
    ({ name, description }) =>
      `<section>\n<h2>${text(name)}</h2>\n${words(description)}\n${ofTag(name)
        .map((one) => article(one, document))
        .join('\n')}\n</section>`,
  )
  .join('\n')}
<section>
<h2>Schemas</h2>
${schemas.map(([name, schema]) => `<article id="schema-${name}">\n<h3>${name}</h3>\n${schemaTable(schema)}\n</article>`).join('\n')}
</section>
</main>
</body>
</html>
`
}

interface Placed {
  operation: Operation
  method: string
  path: string
}

const linkTo = ({ operation: { operationId, summary } }: Placed) =>
  `<li><a href="#${operationId}">${text(summary)}</a></li>`

function article({ operation, method, path }: Placed, document: Document): string {
  const { operationId, summary, description, deprecated, security, requestBody, responses } = operation
  const parameters = operation.parameters.map((parameter) => resolved(parameter, document))
  return `<article id="${operationId}">
<h3>${text(summary)}</h3>
<p class="route"><b>${method}</b> <code>${text(path)}</code>${deprecated ? ' <em>deprecated</em>' : ''}${security?.length === 0 ? ' <em>no key</em>' : ''}</p>
${description ? words(description) : ''}
${parameters.length > 0 ? table(['Parameter', 'In', 'Type', ''], parameters.map(parameterRow)) : ''}
${requestBody ? `<h4>Body${requestBody.required ? '' : ', optional'}</h4>\n${contents(requestBody.content)}` : ''}
<h4>Answers</h4>
${Object.entries(responses)
  .map(([status, { description: when, content }]) => {
    const isError = Number(status) >= 400 && content?.['application/problem+json'] !== undefined
    const what = `<b>${status}</b> ${inline(when)}`
    return `<details${isError ? '' : ' open'}><summary>${what}</summary>${contents(content ?? {})}</details>`
  })
  .join('\n')}
</article>`
}

function resolved(parameter: Parameter | { $ref: string }, document: Document): Parameter {
  if (!('$ref' in parameter)) return parameter
  const found = document.components.parameters[parameter.$ref.split('/').at(-1) ?? '']
  if (found === undefined) throw new TypeError(`there is no ${parameter.$ref}`)
  return found
}

const parameterRow = ({ name, in: where, required, schema, description }: Parameter) => [
  `<code>${text(name)}</code>${required ? ' *' : ''}`,
  where,
  typeWords(schema),
  inline(description ?? ''),
]

const contents = (content: Record<string, MediaType>): string =>
  Object.entries(content)
    .map(
      ([type, { schema, example }]) =>
        `<p><code>${text(type)}</code> ${typeWords(schema)}</p>\n${schemaTable(schema)}\n<pre>${text(
          typeof example === 'string' ? example : JSON.stringify(example, null, 2),
        )}</pre>`,
    )
    .join('\n')

/** The fields of an object; nothing for what has none of its own. */
function schemaTable(schema: Schema): string {
  const fields = Object.entries(objectsOf(schema.properties))
  if (fields.length === 0) return schema.description ? words(String(schema.description)) : ''
  const required = Array.isArray(schema.required) ? schema.required : []
  return table(
    ['Field', 'Type', ''],
    fields.map(([name, field]) => [
      `<code>${text(name)}</code>${required.includes(name) ? ' *' : ''}`,
      typeWords(field),
      `${inline(String(field.description ?? ''))}${schemaTable(innerOf(field))}`,
    ]),
  )
}

/** The object that a field holds, itself or as the entry of a list, where it has no name of its own. */
function innerOf(field: Schema): Schema {
  const { description: _, ...schema } = field
  if (schema.properties !== undefined) return schema
  for (const inner of [schema.items, ...choicesOf(schema)]) {
    const found = isSchema(inner) ? innerOf(inner) : {}
    if (found.properties !== undefined) return found
  }
  return {}
}

function typeWords(schema: Schema): string {
  if (typeof schema.$ref === 'string') {
    const name = text(schema.$ref.split('/').at(-1) ?? '')
    return `<a href="#schema-${name}">${name}</a>`
  }
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => code(value)).join(' | ')
  if ('const' in schema) return code(schema.const)
  const choices = choicesOf(schema)
  if (choices.length > 0) return choices.map(typeWords).join(' | ')
  if (schema.type === 'array')
    return `list of ${isSchema(schema.items) ? typeWords(schema.items) : 'anything'}${limits(schema)}`
  const type = Array.isArray(schema.type) ? schema.type.join(' | ') : String(schema.type ?? 'anything')
  return `${text(type)}${limits(schema)}`
}

const limitWords: Readonly<Record<string, string>> = {
  format: 'format',
  minimum: 'from',
  maximum: 'to',
  minLength: 'at least',
  maxLength: 'at most',
  minItems: 'at least',
  maxItems: 'at most',
  default: 'default',
}

function limits(schema: Schema): string {
  const said = Object.entries(limitWords).flatMap(([key, word]) =>
    schema[key] === undefined
      ? []
      : [`${word} ${key === 'format' ? String(schema[key]) : JSON.stringify(schema[key])}`],
  )
  return said.length > 0 ? ` <small>${text(said.join(', '))}</small>` : ''
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const choicesOf = (schema: Schema): Schema[] => {
  const choices = schema.anyOf ?? schema.oneOf
  return Array.isArray(choices) ? choices.filter(isSchema) : []
}

const objectsOf = (value: unknown): Record<string, Schema> => (isSchema(value) ? (value as Record<string, Schema>) : {})

const table = (head: string[], rows: string[][]): string =>
  `<table><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr>${rows
    .map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`)
    .join('')}</table>`

const words = (value: string): string =>
  value
    .split('\n\n')
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join('\n')

const code = (value: unknown) => `<code>${text(JSON.stringify(value))}</code>`

/** What is between backquotes is code. */
const inline = (value: string): string => text(value).replace(/`([^`]+)`/g, '<code>$1</code>')

const text = (value: string): string =>
  value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

export const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; display: grid; grid-template-columns: 18rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; box-sizing: border-box; padding: 1rem; border-right: 1px solid var(--line); font-size: 13px; }
nav h2 { font-size: 13px; margin: 1rem 0 0; }
nav ul { list-style: none; margin: 0; padding: 0; }
main { padding: 1rem 2rem 4rem; max-width: 60rem; }
article { border-top: 1px solid var(--line); padding-top: 0.5rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 0.6rem 0.2rem 0; border-bottom: 1px solid var(--line); }
pre { background: var(--soft); padding: 0.6rem; overflow: auto; font-size: 13px; }
code { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
details { margin: 0.3rem 0; }
summary { cursor: pointer; }
.route b { display: inline-block; min-width: 4rem; }
@media (max-width: 60rem) { body { display: block; } nav { position: static; height: auto; border: 0; } }
`
