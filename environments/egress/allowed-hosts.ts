// Which hosts an environment's `egress.allow` lets through.

/** Where an entry names no port. */
const PORTS = [80, 443]

/**
 * Whether one of the entries covers the host: `host`, `host:port`,
 * `*.domain` for every name below a domain, `[address]:port` for IPv6.
 */
export function isAllowed(host: string, port: number, allow: readonly string[]): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  return allow.some((entry) => {
    const { pattern, port: only } = parse(entry)
    if (only === null ? !PORTS.includes(port) : only !== port) return false
    if (!pattern.startsWith('*.')) return name === pattern
    // A suffix of an address is no domain.
    return name.endsWith(pattern.slice(1)) && /[a-z]/.test(name) && !name.includes(':')
  })
}

function parse(entry: string): { pattern: string; port: number | null } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(entry.toLowerCase()) ?? []
  return { pattern: bracketed ?? plain ?? '', port: port === undefined ? null : Number(port) }
}
