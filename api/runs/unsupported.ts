// What the API of Oz has and this server does not do yet. It is refused: a run that lacks what it was given would be worse.
import { HttpError } from '../errors.ts'

const isGiven = (value: unknown): boolean => {
  if (value === undefined || value === null || value === '') return false
  if (Array.isArray(value)) return value.length > 0
  return typeof value !== 'object' || Object.keys(value).length > 0
}

/** The fields of an object; none where there is no object. What is wrong with the body otherwise, its schema tells. */
export const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}

/** Refused where something is given; empty, they ask for nothing. */
export const unsupported = {
  top: [],
  config: ['memory_stores'],
} as const

/** @throws {HttpError} 422 that names the fields. */
export function refuseUnsupported(body: unknown): void {
  const asked = fieldsOf(body)
  const config = fieldsOf(asked.config)
  const named = [
    ...unsupported.top.filter((field) => isGiven(asked[field])),
    ...unsupported.config.filter((field) => isGiven(config[field])).map((field) => `config.${field}`),
  ]
  if (named.length === 0) return
  throw new HttpError(
    422,
    'operation_not_supported',
    `This server does not support ${named.join(', ')} yet. Leave it out.`,
  )
}
