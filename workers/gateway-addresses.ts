// Where the gateway listens.

/** What `AMBIENT_GATEWAY_BIND` stands for. An address that means all of them leaves no room for others on the same port. */
export function gatewayAddresses(bind: string): [string, ...string[]] {
  const further = bind.split(',').map((address) => address.trim())
  const everywhere = further.find((address) => address === '::' || address === '0.0.0.0')
  if (everywhere !== undefined) return [everywhere]
  return ['127.0.0.1', ...new Set(further.filter((address) => address !== '' && address !== '127.0.0.1'))]
}
