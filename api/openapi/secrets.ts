// Secrets, and the vault that they are kept in.
import { NewSecret, SecretChange, SecretItem, SecretPage, SecretQuery } from '../../domain/vault/secret.ts'
import { RotateVault, VaultRotation, VaultState } from '../../domain/vault/vault-state.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, operator, updatedAt } from './examples.ts'

const uid = 'Sc3vQ8mTn1bXw5rLc7Hy2d'

const secret = {
  uid,
  name: 'DEPLOY_TOKEN',
  kind: 'env',
  path: null,
  description: 'For the staging server.',
  scope: 'team',
  owner: null,
  team: 'default',
  version: 1,
  created_at: createdAt,
  updated_at: updatedAt,
  created_by: operator,
  updated_by: operator,
  last_used_at: null,
}

const params = { secretUid: 'The uid of a secret.' }

export const secrets: Section = {
  name: 'Secrets',
  description:
    'Values that runs get as variables or files. They are kept sealed and never shown again. Personal ones are seen by their owner alone.',
  routes: [
    {
      method: 'get',
      path: '/agent/secrets',
      id: 'listSecrets',
      summary: 'List secrets',
      description: 'Their names, by name; never their values.',
      query: SecretQuery,
      answers: { 200: json(SecretPage, { secrets: [secret], page_info: { has_next_page: false } }) },
    },
    {
      method: 'post',
      path: '/agent/secrets',
      id: 'createSecret',
      summary: 'Keep a secret',
      body: {
        schema: NewSecret,
        example: { name: 'DEPLOY_TOKEN', value: '…', description: 'For the staging server.' },
      },
      idempotent: true,
      answers: { 201: json(SecretItem, secret) },
      errors: { 409: 'There is one of this name in this scope.' },
    },
    {
      method: 'get',
      path: '/agent/secrets/{secretUid}',
      id: 'getSecret',
      summary: 'Read a secret, without its value',
      params,
      answers: { 200: json(SecretItem, secret) },
    },
    {
      method: 'patch',
      path: '/agent/secrets/{secretUid}',
      id: 'changeSecret',
      summary: 'Change a secret',
      description: 'A new value is a new version: runs that begin from then on get it.',
      params,
      body: { schema: SecretChange, example: { value: '…' } },
      answers: { 200: json(SecretItem, { ...secret, version: 2 }) },
    },
    {
      method: 'delete',
      path: '/agent/secrets/{secretUid}',
      id: 'deleteSecret',
      summary: 'Delete a secret',
      params,
      answers: { 204: nothing('No run gets it from now on.') },
    },
  ],
}

const state = {
  source: 'the file /var/lib/ambient/vault-keys',
  trouble: null,
  keys: ['9f2c41d07be35a68'],
  sealed: [{ key: '9f2c41d07be35a68', values: 12, is_here: true }],
  plain: 0,
}

export const vault: Section = {
  name: 'Vault',
  description: 'Under which keys secret values are sealed. Only for the operator.',
  routes: [
    {
      method: 'get',
      path: '/agent/vault',
      id: 'getVault',
      summary: 'See the keys of the vault',
      description: 'Every sealed value is looked at: with very many it takes a while.',
      answers: { 200: json(VaultState, state) },
    },
    {
      method: 'post',
      path: '/agent/vault/rotate',
      id: 'rotateVault',
      summary: 'Bring everything under the newest key',
      description:
        'While everything runs. What was stored before there was a vault is sealed as well. Safe to repeat: what is done is not done again.',
      body: { schema: RotateVault, example: { new_key: true }, optional: true },
      answers: { 200: json(VaultRotation, { ...state, rewrapped: 12 }) },
      errors: { 409: '`new_key`: the keys are not a file of the server.' },
    },
  ],
}
