// Maps that hold the latest of very many, so that they take no more memory than that.

/** Sets the entry as the latest one, and drops the one that was set longest ago where there are more than `most`. */
export function setLatest<Key, Value>(map: Map<Key, Value>, key: Key, value: Value, most: number): void {
  map.delete(key)
  map.set(key, value)
  const [oldest] = map.keys()
  if (map.size > most && oldest !== undefined) map.delete(oldest)
}
