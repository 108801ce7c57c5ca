// Secrets: values that are kept sealed, never shown again, and given to sandboxes alone.
import { z } from 'zod'
import { Profile, TeamUid, Uid } from '../account.ts'
import { cursor, PageInfo, pageLimit } from '../page.ts'
import { VariableName } from './variable-name.ts'

/** Whose a secret is. Of several of one name, a run gets that of the last in this order. */
export const secretScopes = ['team', 'person', 'environment', 'agent'] as const
export type SecretScope = (typeof secretScopes)[number]

export const secretKinds = ['env', 'file'] as const
export type SecretKind = (typeof secretKinds)[number]

/** As long as a variable may be for every kernel, with room for its name. */
const VALUE_BYTES = 96 * 1024

const SecretValue = z
  .string()
  .min(1)
  .refine((value) => new TextEncoder().encode(value).length <= VALUE_BYTES, {
    error: `longer than ${VALUE_BYTES} bytes`,
  })
  .refine((value) => !value.includes('\0') && value.isWellFormed(), { error: 'must be text, without NUL characters' })

const FilePath = z
  .string()
  .max(1024)
  .regex(/^(~\/|\/)[^/]/, 'must begin with / or ~/')
  .refine((path) => !/\p{Cc}/u.test(path) && !path.split('/').some((part) => part === '..' || part === '.'), {
    error: 'must be a plain path',
  })
  .refine((path) => !path.endsWith('/'), { error: 'must name a file' })

const Description = z.string().max(1_000)

const fields = {
  name: VariableName.describe('The variable that has the value; of a file, the one that has its path.'),
  kind: z.enum(secretKinds).describe('`env`: a variable. `file`: a file of mode 600, whose path the variable has.'),
  path: FilePath.nullable().describe(
    'Where the file is found as well, by a link: `~/.aws/credentials`. Null: only at the path that the variable has.',
  ),
  description: Description.describe('What it is for. Seen by whoever sees its name.'),
}

const scopes = z.enum(secretScopes)

/** Body of `POST /agent/secrets`. */
export const NewSecret = z
  .object({
    ...fields,
    value: SecretValue.describe('Never shown again.'),
    kind: fields.kind.default('env'),
    path: fields.path.optional(),
    description: fields.description.default(''),
    scope: scopes
      .default('team')
      .describe(
        'Whose runs get it: those of the team, one’s own personal ones, those of an environment, those that a service account carries out.',
      ),
    environment_id: Uid.nullish().describe('Of the scope `environment`.'),
    agent_uid: Uid.nullish().describe('The service account of the scope `agent`.'),
  })
  .refine(({ kind, path }) => kind === 'file' || path == null, { error: 'only a file has a path', path: ['path'] })
  .meta({ id: 'NewSecret' })
export type NewSecret = z.infer<typeof NewSecret>

/** Body of `PATCH /agent/secrets/{uid}`. What is absent stays. */
export const SecretChange = z
  .object({
    value: SecretValue.optional().describe('Runs that begin from now on get it.'),
    path: fields.path.optional(),
    description: fields.description.optional(),
  })
  .meta({ id: 'SecretChange' })
export type SecretChange = z.infer<typeof SecretChange>

/** A secret as it is served: never its value. */
export const SecretItem = z
  .object({
    uid: Uid,
    ...fields,
    scope: scopes,
    owner: z.string().nullable().describe('The person, the environment or the service account. Null: the team.'),
    team: TeamUid,
    version: z.number().int().describe('Counts from 1, with each new value.'),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    created_by: Profile,
    updated_by: Profile,
    last_used_at: z.iso.datetime().nullable().describe('When a run was given it last.'),
  })
  .meta({ id: 'Secret' })
export type SecretItem = z.infer<typeof SecretItem>

/** `GET /agent/secrets` */
export const SecretQuery = z.object({
  limit: pageLimit(100),
  cursor,
  scope: scopes.optional().describe('Only those of this scope.'),
  name: z.string().optional().describe('Only those of exactly this name.'),
  environment_id: z.string().optional().describe('Only those of this environment.'),
  agent_uid: z.string().optional().describe('Only those of this service account.'),
})

export const SecretPage = z.object({ secrets: z.array(SecretItem), page_info: PageInfo }).meta({ id: 'SecretPage' })
export type SecretPage = z.infer<typeof SecretPage>

/** As runs show which secrets they were given. */
export const UsedSecret = z
  .object({
    name: z.string(),
    version: z.number().int(),
    scope: scopes,
    kind: z.enum(secretKinds),
    execution: z.number().int(),
    given_at: z.iso.datetime(),
  })
  .meta({ id: 'UsedSecret' })
export type UsedSecret = z.infer<typeof UsedSecret>

/** `config.secrets` of a run: names, or objects with one, as Oz's service accounts have them. */
export const SecretChoice = z.array(z.union([VariableName, z.looseObject({ name: VariableName })])).max(200)
export type SecretChoice = z.infer<typeof SecretChoice>

/** Null: all that are in scope. */
export const chosenNames = (choice: SecretChoice | null | undefined): string[] | null =>
  choice == null ? null : [...new Set(choice.map((one) => (typeof one === 'string' ? one : one.name)))]

/** What a host is given. The values leave its memory only towards the sandbox. */
export const GivenSecret = z.object({
  name: z.string(),
  version: z.number().int(),
  kind: z.enum(secretKinds),
  path: z.string().nullable(),
  value: z.string(),
})
export type GivenSecret = z.infer<typeof GivenSecret>
