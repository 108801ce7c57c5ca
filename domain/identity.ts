// Service accounts: Oz's agent identities. What one has is the default of the runs that it carries out.
import { z } from 'zod'
import { Uid } from './account.ts'
import { HarnessType } from './harness.ts'
import { McpServers } from './mcp/server.ts'
import { AgentConfig, EnvironmentId, Harness, HarnessAuthSecrets } from './run.ts'

const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !value.includes('\0'), { error: 'contains a NUL character' })

const Name = text(200).trim().min(1)
const Prompt = text(200_000)

export const agentTypes = ['FOREMAN', 'TRIAGE', 'SPEC', 'IMPLEMENT', 'REVIEW', 'VERIFY', 'CUSTOM'] as const

const MemoryStore = z.object({
  uid: z.string().min(1).max(200),
  access: z.enum(['read_write', 'read_only']),
  instructions: text(10_000).refine((value) => value.trim() !== '', { error: 'must not be empty' }),
})

const isUnique = (values: readonly string[]) => new Set(values).size === values.length

const Secrets = z
  .array(z.object({ name: z.string().min(1).max(200) }))
  .max(100)
  .refine((list) => isUnique(list.map((secret) => secret.name)), { error: 'must not name a secret twice' })

const Stores = z
  .array(MemoryStore)
  .max(20)
  .refine((list) => isUnique(list.map(({ uid }) => uid)), { error: 'must not have a memory store twice' })

/** `owner/repo:path` */
const SkillSpec = z.string().regex(/^[\w.-]+(\/[\w.-]+)+:[^\s:].*$/, 'must be owner/repo:path')

const InferenceProviders = z.object({
  aws: z
    .object({
      disabled: z.boolean().optional(),
      role_arn: z.string().max(2048).optional(),
      region: z.string().max(100).optional(),
    })
    .optional(),
})

/** Empty clears. */
const orEmpty = <T extends z.ZodType>(schema: T) => z.union([schema, z.literal('')])

/** Everything but the name, as it is stored, asked for, and changed. Absent or null: unchanged. Empty: cleared. */
const fields = {
  description: text(10_000).nullish(),
  prompt: Prompt.nullish().describe(
    'Instructions that come before the prompt of its runs, where they have no `base_prompt`.',
  ),
  environment_id: orEmpty(EnvironmentId).nullish(),
  base_model: text(200).nullish(),
  base_harness: orEmpty(HarnessType).nullish().describe('Deprecated: `harness` says it all.'),
  harness: Harness.nullish(),
  harness_auth_secrets: HarnessAuthSecrets.nullish(),
  inference_providers: InferenceProviders.nullish(),
  mcp_servers: McpServers.nullish(),
  secrets: Secrets.nullish(),
  skills: z.array(SkillSpec).max(50).refine(isUnique, { error: 'must not name a skill twice' }).nullish(),
  profile_uid: orEmpty(Uid)
    .nullish()
    .describe('The agent profile of its runs, for what neither they nor the service account itself say.'),
  worker_host: orEmpty(AgentConfig.shape.worker_host.unwrap().unwrap()).nullish(),
  credential_strategy: z.enum(['CREATOR', 'EXECUTOR']).nullish(),
  agent_type: z.enum(agentTypes).nullish(),
  default_runner_uid: z.string().max(200).nullish(),
  factory_uid: z.string().max(200).nullish(),
  on_behalf_of_enabled: z
    .boolean()
    .nullish()
    .describe('Whether runs that are started with its key may name a person in `on_behalf_of`. Set by admins alone.'),
}

/** Body of `POST /agent/identities`. */
export const NewIdentity = z
  .object({
    name: Name,
    ...fields,
    memory: z
      .object({
        attached_stores: Stores.nullish(),
        auto_memory: z.object({ enabled: z.boolean() }).nullish(),
      })
      .nullish(),
  })
  .meta({ id: 'CreateAgentRequest' })
export type NewIdentity = z.infer<typeof NewIdentity>

/** Body of `PUT /agent/identities/{uid}`. */
export const IdentityChange = z
  .object({
    name: Name.nullish(),
    ...fields,
    memory: z.object({ attached_stores: Stores.nullish() }).nullish(),
  })
  .meta({ id: 'UpdateAgentRequest' })
export type IdentityChange = z.infer<typeof IdentityChange>

/** What is kept of one, beside its name: nothing that is empty. */
export type IdentityConfig = Partial<
  Pick<IdentityItem, 'description' | 'prompt' | 'environment_id' | 'base_model' | 'harness' | 'harness_auth_secrets'> &
    Pick<
      IdentityItem,
      'inference_providers' | 'mcp_servers' | 'secrets' | 'skills' | 'worker_host' | 'credential_strategy'
    > &
    Pick<IdentityItem, 'agent_type' | 'factory_uid' | 'default_runner_uid' | 'profile_uid'>
> & { auto_memory?: boolean; memory_stores?: z.infer<typeof MemoryStore>[] }

/** Oz's AgentResponse. */
export const IdentityItem = z
  .object({
    uid: Uid,
    name: z.string(),
    available: z.boolean(),
    is_default: z.boolean().describe('The one that every team has: what it says holds for runs that name no other.'),
    description: z.string().nullable(),
    prompt: z.string().nullable(),
    environment_id: z.string().nullable(),
    base_model: z.string().nullable(),
    base_harness: z.string().nullable(),
    harness: Harness.nullable(),
    harness_auth_secrets: HarnessAuthSecrets.nullable(),
    inference_providers: InferenceProviders.nullable(),
    mcp_servers: McpServers,
    secrets: z.array(z.object({ name: z.string() })),
    skills: z.array(z.string()),
    memory: z.object({
      auto_memory: z.object({ enabled: z.boolean() }),
      attached_stores: z.array(MemoryStore),
    }),
    worker_host: z.string().nullable(),
    profile_uid: z.string().nullable(),
    credential_strategy: z.enum(['CREATOR', 'EXECUTOR']).nullable(),
    agent_type: z.enum(agentTypes),
    default_runner_uid: z.string().describe('Empty where there is none.'),
    factory_uid: z.string().nullable(),
    on_behalf_of_enabled: z.boolean(),
    team: z.string(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
    warnings: z.array(z.string()).optional().describe('Fields of the request that are not known and had no effect.'),
  })
  .meta({ id: 'AgentResponse' })
export type IdentityItem = z.infer<typeof IdentityItem>

export const IdentityList = z.object({ agents: z.array(IdentityItem) }).meta({ id: 'ListAgentIdentitiesResponse' })
