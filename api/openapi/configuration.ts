import {
  AgentProfile,
  AgentProfileChange,
  AgentProfileList,
  NewAgentProfile,
} from '../../domain/configuration/profile.ts'
import { NewRule, Rule, RuleChange, RuleList } from '../../domain/configuration/rule.ts'
import {
  NewSavedPrompt,
  SavedPrompt,
  SavedPromptChange,
  SavedPromptList,
} from '../../domain/configuration/saved-prompt.ts'
import { ItemsQuery, ItemVersions, VersionQuery, VersionsQuery } from '../../domain/configuration/shared-item.ts'
import { json, nothing, type RouteDeclaration, type Section } from './declaration.ts'
import { createdAt, environmentUid, operator, updatedAt } from './examples.ts'

const served = {
  version: 2,
  scope: { type: 'Team', uid: 'default' },
  created_at: createdAt,
  updated_at: updatedAt,
  created_by: operator,
  updated_by: operator,
}

const versions = {
  versions: [
    { version: 2, name: 'reviewer', created_at: updatedAt, created_by: operator },
    { version: 1, name: 'reviewer', created_at: createdAt, created_by: operator },
  ],
  page_info: { has_next_page: false },
}

const profileBody = {
  name: 'reviewer',
  description: 'Looks at changes, and makes none',
  config: {
    harness: { type: 'claude', reasoning_level: 'high' },
    permission_policy: 'deny',
    base_prompt: 'Review, and change nothing.',
    environment_id: environmentUid,
    max_run_minutes: 30,
  },
  default: false,
}

const ruleBody = {
  name: 'house style',
  description: '',
  text: 'Write commit messages in the imperative.',
  repositories: ['you/*'],
  environment_ids: [],
  position: 0,
  enabled: true,
}

const promptBody = {
  name: 'update dependency',
  description: '',
  text: 'Update {{package}} to {{version}}, and mend what breaks.',
  arguments: [
    { name: 'package', description: 'Its name in the registry' },
    { name: 'version', description: '', default: 'the newest version' },
  ],
}

const profile = { ...profileBody, ...served, uid: 'Pr9fT2kWm5Xb8Qc1Ld4Rz7' }
const rule = { ...ruleBody, ...served, uid: 'Ru3gH6jNv9Ds2Ky5Ae8Bt1' }
const prompt = {
  ...promptBody,
  ...served,
  uid: 'Pm7hJ4nCq1Fw6Vx3Ub9Zs2',
  arguments: [
    { name: 'package', description: 'Its name in the registry', default: null, required: true },
    { name: 'version', description: '', default: 'the newest version', required: false },
  ],
}

/** The same routes for each kind. `word` in sentences, `id` in the names of operations. */
function routesOf({
  path,
  word,
  id,
  list,
  item,
  create,
  replace,
  example,
  body,
  about,
  inUse,
}: {
  path: 'profiles' | 'rules' | 'prompts'
  word: string
  id: string
  list: RouteDeclaration['query'] & object
  item: RouteDeclaration['query'] & object
  create: RouteDeclaration['query'] & object
  replace: RouteDeclaration['query'] & object
  example: object
  body: object
  about: string
  inUse?: string
}): RouteDeclaration[] {
  const taken = { 409: 'The name is taken, or the team has as many as it may.' }
  return [
    {
      method: 'get',
      path: `/agent/${path}`,
      id: `list${id}s`,
      summary: `List ${word}s`,
      description: 'Personal ones are for their owner, and for the admins of the team.',
      query: ItemsQuery,
      answers: { 200: json(list, { [path]: [example], page_info: { has_next_page: false } }) },
    },
    {
      method: 'post',
      path: `/agent/${path}`,
      id: `create${id}`,
      summary: `Make a ${word}`,
      description: about,
      body: { schema: create, example: body },
      idempotent: true,
      answers: { 201: json(item, { ...example, version: 1 }) },
      errors: taken,
    },
    {
      method: 'get',
      path: `/agent/${path}/{uid}`,
      id: `get${id}`,
      summary: `Read a ${word}`,
      query: VersionQuery,
      answers: { 200: json(item, example) },
    },
    {
      method: 'put',
      path: `/agent/${path}/{uid}`,
      id: `replace${id}`,
      summary: `Replace a ${word}`,
      description:
        'By a further version. A field that is left out is as if it had never been given. Runs that there are stay on the version that they began with.',
      body: { schema: replace, example: { ...body, version: 1 } },
      answers: { 200: json(item, example) },
      errors: { 409: 'The name is taken, or `version` is not the newest any more.' },
    },
    {
      method: 'delete',
      path: `/agent/${path}/{uid}`,
      id: `delete${id}`,
      summary: `Delete a ${word}`,
      answers: { 204: nothing('It is gone. Runs that used it stay as they are.') },
      ...(inUse !== undefined && { errors: { 409: inUse } }),
    },
    {
      method: 'get',
      path: `/agent/${path}/{uid}/versions`,
      id: `list${id}Versions`,
      summary: `List the versions of a ${word}`,
      query: VersionsQuery,
      answers: { 200: json(ItemVersions, versions) },
    },
  ]
}

export const configuration: readonly Section[] = [
  {
    name: 'Agent profiles',
    description: 'What many runs have in common: `config.profile` names one.',
    routes: routesOf({
      path: 'profiles',
      word: 'profile',
      id: 'AgentProfile',
      list: AgentProfileList,
      item: AgentProfile,
      create: NewAgentProfile,
      replace: AgentProfileChange,
      example: profile,
      body: profileBody,
      about: 'It says what its runs, and what is stronger than it, leave open.',
      inUse: 'A service account names it.',
    }),
  },
  {
    name: 'Rules',
    description: 'What agents are told in every run, beside the AGENTS.md of the repositories.',
    routes: routesOf({
      path: 'rules',
      word: 'rule',
      id: 'Rule',
      list: RuleList,
      item: Rule,
      create: NewRule,
      replace: RuleChange,
      example: rule,
      body: ruleBody,
      about: 'Runs that begin from now on are given it.',
    }),
  },
  {
    name: 'Saved prompts',
    description: 'Tasks that are asked for again and again: `saved_prompt` names one.',
    routes: routesOf({
      path: 'prompts',
      word: 'saved prompt',
      id: 'SavedPrompt',
      list: SavedPromptList,
      item: SavedPrompt,
      create: NewSavedPrompt,
      replace: SavedPromptChange,
      example: prompt,
      body: promptBody,
      about: 'Each place in its text has an argument, and each argument its place.',
    }),
  },
]
