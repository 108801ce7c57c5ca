// Which hosts an environment may reach, and which a run was refused.
import { z } from 'zod'

/** `host`, `*.domain`, an address; each with `:port` where it is not 80 or 443. IPv6 in brackets. */
const AllowedHost = z
  .string()
  .max(260)
  .regex(
    /^((\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?|\[[0-9a-f:.]+\])(:\d{1,5})?$/i,
    'must be a host such as registry.example.org, *.example.org or registry.example.org:8443',
  )

/** Most hosts that one environment names. */
const HOSTS = 200

export const EgressRule = z
  .object({
    allow: z
      .array(AllowedHost)
      .max(HOSTS)
      .describe(
        'The only hosts that the sandbox reaches, by HTTP and HTTPS through a proxy: `registry.example.org`, `*.example.org`, `host:port` where the port is neither 80 nor 443.',
      ),
  })
  .meta({ id: 'EgressRule' })
export type EgressRule = z.infer<typeof EgressRule>

export const BlockedHost = z
  .object({
    host: z.string().max(300),
    port: z.number().int().min(0).max(65_535),
    count: z.number().int().min(1).describe('How often it was tried.'),
    first_seen: z.iso.datetime(),
  })
  .meta({ id: 'BlockedHost' })
export type BlockedHost = z.infer<typeof BlockedHost>
