// Large files of Git LFS: where a repository has them is answered with addresses of the broker, so that what lets in stays here.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type http from 'node:http'
import { z } from 'zod'
import { GitRefusal } from './refusal.ts'
import { OBJECTS_PATH } from './request.ts'
import { authorization, type GitLogin } from './sources.ts'
import { answerText, type Upstream } from './upstream.ts'

/** Lists of a hundred files at a time are usual. */
const BATCH_BYTES = 4 * 1024 * 1024
/** How long an address is good where the server does not say. In milliseconds. */
const GOOD_MS = 60 * 60_000
/** The type of all that is not a file. */
export const LARGE_FILES = 'application/vnd.git-lfs+json'
/** By what it is asked for, by the name of its address. */
const methods: Readonly<Record<string, string>> = { download: 'GET', upload: 'PUT', verify: 'POST' }
/** How long a body is, whoever sends it says: a file goes on as it came. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding'])
/** A server may have its files elsewhere; no chain of redirects is longer. */
const REDIRECTS = 3

const Batch = z.looseObject({
  operation: z.enum(['download', 'upload']),
  ref: z.looseObject({ name: z.string() }).nullish(),
})

const Action = z.looseObject({
  href: z.string(),
  header: z.record(z.string(), z.string()).optional(),
  expires_in: z.number().optional(),
})

const Batched = z.looseObject({
  objects: z.array(z.looseObject({ actions: z.record(z.string(), Action).optional() })),
})

const Refused = z.looseObject({ message: z.string().transform((text) => text.slice(0, 500)) })

/** Where a large file is, and by whose token it may be had. */
const LargeObject = z.object({
  /** What reads a file is not to write one. */
  method: z.string(),
  href: z.string(),
  headers: z.array(z.string()),
  token: z.string(),
  until: z.number(),
})
type LargeObject = z.infer<typeof LargeObject>

export function createLargeFiles({ upstream, now }: { upstream: Upstream; now: () => number }) {
  // Of this process alone: after its end clients ask for the list again.
  const key = randomBytes(32)

  function seal(object: LargeObject): string {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    const sealed = Buffer.concat([nonce, cipher.update(JSON.stringify(object)), cipher.final(), cipher.getAuthTag()])
    return sealed.toString('base64url')
  }

  return {
    /** @throws {GitRefusal} for an address that was not given out here, or lately. */
    open(sealed: string, method: string): LargeObject {
      const bytes = Buffer.from(sealed, 'base64url')
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
        decipher.setAuthTag(bytes.subarray(-16))
        const text = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('utf8')
        const object = LargeObject.parse(JSON.parse(text))
        if (object.until > now() && object.method === method) return object
      } catch {
        // It is of another process, or nobody's: said below.
      }
      throw new GitRefusal(404, 'This address of a large file is no longer good. Ask for it again.')
    },

    /** Asks the server where files are. */
    async batch(
      asked: {
        base: URL
        token: string
        login: GitLogin
        repository: string
        /** Why nothing is uploaded for a ref, or at all where none is named; null: it may be. */
        refusalOf: (ref: string | null) => Promise<string | null>
      },
      request: http.IncomingMessage,
      signal: AbortSignal,
    ): Promise<string> {
      const { base, token, login, repository } = asked
      const wanted = Batch.safeParse(jsonOf(await bodyOf(request)))
      if (!wanted.success) throw new GitRefusal(400, 'This is no list of large files.')
      const { operation, ref } = wanted.data
      const reason = operation === 'upload' ? await asked.refusalOf(ref?.name ?? null) : null
      if (reason !== null) throw new GitRefusal(403, `Nothing is uploaded from here: ${reason}.`)
      // Other ways to transfer files have addresses that cannot be replaced.
      const body = Buffer.from(JSON.stringify({ ...wanted.data, transfers: ['basic'] }))
      const own = authorization(login)
      const answer = await upstream.send(new URL(`${repository}/info/lfs/objects/batch`), {
        method: 'POST',
        headers: [...own, 'accept', LARGE_FILES, 'content-type', LARGE_FILES, 'content-length', String(body.length)],
        body,
        signal,
      })
      const text = await answerText(answer)
      const batched = Batched.safeParse(jsonOf(text))
      if (answer.statusCode !== 200 || !batched.success) {
        const said = Refused.safeParse(jsonOf(text)).data?.message
        const status = `The server answered for its large files with ${answer.statusCode}`
        throw new GitRefusal(502, said === undefined ? `${status}.` : `${status}: ${said}`)
      }
      const { origin } = new URL(repository)
      const objects = batched.data.objects.map(({ actions, ...object }) => ({
        ...object,
        authenticated: true,
        ...(actions && {
          actions: Object.fromEntries(
            Object.entries(actions).flatMap(([name, { href, header = {}, expires_in: seconds }]) => {
              const method = methods[name]
              if (method === undefined || (method !== 'GET' && operation === 'download')) return []
              const given = Object.entries(header)
                .filter(([each]) => !FRAMING.has(each.toLowerCase()))
                .flat()
              const isOpen = !Object.keys(header).some((each) => each.toLowerCase() === 'authorization')
              // As git-lfs would: the server's own address, where nothing else is said, takes what the repository takes.
              const headers = isOpen && URL.parse(href)?.origin === origin ? [...given, ...own] : given
              const until = now() + (seconds === undefined || seconds <= 0 ? GOOD_MS : seconds * 1_000)
              const to = new URL(`${OBJECTS_PATH}/${seal({ method, href, headers, token, until })}`, base)
              return [[name, { href: to.href, ...(seconds !== undefined && { expires_in: seconds }) }]]
            }),
          ),
        }),
      }))
      return JSON.stringify({ ...batched.data, transfer: 'basic', objects })
    },

    /** A file as it comes or goes. */
    async transfer(
      { method, href, headers }: Pick<LargeObject, 'method' | 'href' | 'headers'>,
      request: http.IncomingMessage,
      signal: AbortSignal,
    ): Promise<http.IncomingMessage> {
      const asked = ['content-type', 'content-length', 'accept', 'range', 'transfer-encoding'].flatMap((name) => {
        const value = request.headers[name]
        const isGiven = headers.some((each, at) => at % 2 === 0 && each.toLowerCase() === name)
        return typeof value === 'string' && !isGiven ? [name, value] : []
      })
      if (method !== 'GET')
        return await upstream.send(new URL(href), { method, headers: [...asked, ...headers], body: request, signal })
      let at = new URL(href)
      // What lets in here is shown to no other server.
      for (let own = headers, hop = 0; ; hop++) {
        const answer = await upstream.send(at, { method, headers: [...asked, ...own], signal })
        const { location } = answer.headers
        if (![301, 302, 303, 307, 308].includes(answer.statusCode ?? 0) || location === undefined) return answer
        answer.resume()
        const to = URL.parse(location, at.href)
        if (to === null || hop === REDIRECTS) throw new GitRefusal(502, `${at.host} sends for this file elsewhere.`)
        if (to.origin !== at.origin) own = []
        at = to
      }
    },
  }
}

async function bodyOf(request: http.IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > BATCH_BYTES) throw new GitRefusal(413, 'The list of large files is too long.')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // The schema says what is wrong.
  }
}
