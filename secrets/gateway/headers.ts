// Headers as they go from one hop to the next.

// Headers that speak of one connection, not of the message (RFC 9110, 7.6.1). `host` and `expect` are settled per hop too.
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'expect',
])

/** Raw headers, in order and with repetitions, without those of one hop and those of `dropped`. */
export function endToEnd(rawHeaders: readonly string[], dropped: ReadonlySet<string> = new Set()): string[] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) pairs.push([rawHeaders[i] ?? '', rawHeaders[i + 1] ?? ''])
  const named = pairs.filter(([name]) => name.toLowerCase() === 'connection').flatMap(([, value]) => value.split(','))
  const ofThisHop = new Set(named.map((name) => name.trim().toLowerCase()))
  // Whatever a client says, the length belongs to the message: a body without it would be taken for the next call on
  // this connection, which may be another run's.
  ofThisHop.delete('content-length')
  return pairs
    .filter(([name]) => {
      const key = name.toLowerCase()
      return !hopByHop.has(key) && !ofThisHop.has(key) && !dropped.has(key)
    })
    .flat()
}
