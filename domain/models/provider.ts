// A team's own model endpoints, in the place of the server's.
import { z } from 'zod'
import { providerNames } from '../harness.ts'

const line = (max: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(max)
    .refine((value) => !/\p{Cc}/u.test(value), { error: 'must be one line' })

const BaseUrl = z
  .string()
  .max(2048)
  .refine(
    (text) => {
      const url = URL.parse(text)
      return (
        url !== null && /^https?:$/.test(url.protocol) && url.hostname !== '' && url.search === '' && url.hash === ''
      )
    },
    { error: 'must be a URL without ? and #: https://… or http://…' },
  )
  .refine((text) => !URL.parse(text)?.username && !URL.parse(text)?.password, {
    error: 'must have no user name and password: give a key, or headers',
  })
  .transform((text) => text.replace(/\/+$/, ''))

/** Headers of the connection, and those that the gateway sets itself. */
const reserved =
  /^(?:host|connection|content-length|content-encoding|accept-encoding|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|x-ambient-.*)$/i

const Headers = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, 'is no name of a header')
      .refine((name) => !reserved.test(name), { error: 'is set by the gateway' }),
    z
      .string()
      .max(4096)
      .regex(/^[\t\x20-\x7e]*$/, 'must be one line of ASCII'),
  )
  .refine((headers) => Object.keys(headers).length <= 20, { error: 'more than 20 headers' })

const settings = {
  name: line(100),
  format: z.enum(providerNames).describe('What it speaks: the APIs of Anthropic, OpenAI or Gemini.'),
  base_url: BaseUrl.describe(
    'Paths are appended to it as to the provider’s own: that of an `openai` endpoint has its /v1.',
  ),
  models: z
    .array(line(200))
    .min(1)
    .max(200)
    .default(['*'])
    .describe('Calls of these models go there, such as `llama-*`; by default all of its format.'),
  api_key: z
    .string()
    .min(1)
    .max(4096)
    .regex(/^[\x21-\x7e]+$/, 'must be one word of ASCII')
    .nullish()
    .describe(
      'Kept encrypted, never shown. In a change, absent keeps it, unless `base_url` is another server’s, and null removes it.',
    ),
  headers: Headers.nullish().describe('Sent with every call; kept and changed like the key.'),
}

/** Body of `POST /agent/providers` and `PUT /agent/providers/{uid}` */
export const ModelProviderConfig = z.object(settings).meta({ id: 'ModelProviderConfig' })
export type ModelProviderConfig = z.infer<typeof ModelProviderConfig>

export const ModelProviderItem = z
  .object({
    uid: z.string(),
    name: z.string(),
    format: z.enum(providerNames),
    base_url: z.string(),
    models: z.array(z.string()),
    has_api_key: z.boolean(),
    header_names: z.array(z.string()),
    created_by: z.object({ type: z.string(), uid: z.string() }),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'ModelProviderItem' })
export type ModelProviderItem = z.infer<typeof ModelProviderItem>

export const ModelProviders = z.object({ providers: z.array(ModelProviderItem) }).meta({ id: 'ModelProviders' })

/** Of one team. */
export const MODEL_PROVIDERS = 100
