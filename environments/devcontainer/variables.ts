// Variables in devcontainer.json: `${name}`, `${name:argument}`, `${name:argument:instead}`.

/** The value of a variable, by its parts; null leaves it as it stands: it may be the shell's. */
export type Lookup = (parts: string[]) => string | null

/** Replaces variables in all texts of a value. */
export function substituteAll<T>(value: T, lookup: Lookup): T {
  return substituted(value, lookup) as T
}

function substituted(value: unknown, lookup: Lookup): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$\{([^{}]*)\}/g, (whole, inner: string) => lookup(inner.split(':')) ?? whole)
  }
  if (Array.isArray(value)) return value.map((one) => substituted(one, lookup))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, substituted(one, lookup)]))
}
