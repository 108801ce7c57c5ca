// Fields of a request that nobody here knows. Dropping them without a word would let a slip of the fingers change what a
// run may do; refusing them all would shut out clients that are newer than this server.

import type { z } from 'zod'
import { ForkFrom } from '../../domain/checkpoint.ts'
import { EgressRule } from '../../domain/egress.ts'
import { EnvironmentConfig, StartBuild } from '../../domain/environment.ts'
import { GitCredentialConfig, GitHubApp } from '../../domain/git/credential.ts'
import { PullRequestAsk } from '../../domain/git/pull-request.ts'
import { either } from '../../domain/issue-words.ts'
import { nearest } from '../../domain/nearest.ts'
import { AgentConfig, FollowUp, Harness, InlineEnvironment, Repository, StartRun } from '../../domain/run.ts'
import { CreateSchedule, ScheduleItem } from '../../domain/schedule.ts'
import { WebhookConfig, WebhookFilter } from '../../domain/webhook.ts'
import { invalid } from '../errors.ts'
import { fieldsOf, unsupported } from './unsupported.ts'

type Fields = Readonly<Record<string, unknown>>

/** Where each field is that this server has added to the Oz API: put elsewhere, it is a mistake, and never a newer client's. */
const ownFields: Readonly<Record<string, string>> = {
  permission_policy: 'config',
  max_turn_minutes: 'config',
  max_run_minutes: 'config',
  max_transcript_mb: 'config',
  max_disk_gb: 'config',
  commit_identity: 'config',
  budget: 'config',
  tree_budget: 'config',
  profile: 'config',
  profile_version: 'config',
  saved_prompt: 'the body itself',
  environment: 'the body itself',
  // Oz's own, and all the same: a run that goes on without it would work elsewhere than it was meant to.
  environment_id: 'config',
  fork_from: 'the body itself',
  repos: 'environment',
  push_branch: 'a repository of environment.repos',
  pull_request: 'a repository of environment.repos',
  setup_commands: 'environment',
  setup_inputs: 'environment',
  devcontainer: 'environment',
  env: 'environment',
  image: 'environment',
  egress: 'environment',
  command: 'config.harness',
}

/**
 * Looks at the body of `POST /agent/runs`. Returns a sentence for each field
 * that is left out.
 * @throws {HttpError} 400 for one in an object of our own, for one of our own
 * fields in another place, and for a misspelled `permission_policy`.
 */
export function heedRunFields(body: unknown): string[] {
  const top = fieldsOf(body)
  const config = fieldsOf(top.config)
  const environment = fieldsOf(top.environment)
  // As schedules and answers have it. Left aside, the agent would be free of whatever it says.
  if (top.agent_config != null) throw invalid('agent_config: is "config" in the request of a run.')
  refuseUnknown('environment', environment, InlineEnvironment)
  refuseUnknown('environment.egress', fieldsOf(environment.egress), EgressRule)
  refuseUnknown('fork_from', fieldsOf(top.fork_from), ForkFrom)
  refuseUnknownRepositoryFields('environment.repos', environment.repos)
  return [
    ...warnings('', top, [...namesOf(StartRun), ...unsupported.top]),
    ...warnings('config.', config, [...namesOf(AgentConfig), ...unsupported.config]),
    ...warnings('config.harness.', fieldsOf(config.harness), namesOf(Harness)),
  ]
}

/** What is shown of a stored environment beside what can be set: sent back, it changes nothing. */
const shownOfEnvironment = ['docker_image', 'github_repos']

/** The same for a stored environment. */
export function heedEnvironmentFields(body: unknown): string[] {
  const top = fieldsOf(body)
  refuseUnknownRepositoryFields('repos', top.repos)
  refuseUnknown('egress', fieldsOf(top.egress), EgressRule)
  const own = namesOf(EnvironmentConfig)
  return unknownIn('', top, [...own, ...shownOfEnvironment])
}

/** The same for a service account: all of its fields are Oz's. */
export const heedIdentityFields = (body: unknown, schema: z.ZodObject): string[] =>
  unknownIn('', fieldsOf(body), namesOf(schema))

/** The same for the body that asks for a build. */
export const heedBuildFields = (body: unknown): string[] => unknownIn('', fieldsOf(body), namesOf(StartBuild))

/** The same for a schedule, which may be sent back as it was shown. */
export function heedScheduleFields(body: unknown): string[] {
  const top = fieldsOf(body)
  const config = fieldsOf(top.agent_config)
  return [
    ...warnings('', top, [...namesOf(CreateSchedule), ...namesOf(ScheduleItem)]),
    // A link to a run is told to whoever starts it, and a schedule tells nobody.
    ...warnings('agent_config.', config, [
      ...namesOf(AgentConfig.omit({ session_sharing: true })),
      ...unsupported.config,
    ]),
    ...warnings('agent_config.harness.', fieldsOf(config.harness), namesOf(Harness)),
  ]
}

/** The same for the body of a follow-up. */
export const heedFollowUpFields = (body: unknown): string[] => warnings('', fieldsOf(body), namesOf(FollowUp))

/** For the body of a webhook: one that is left aside would have it told of other things than was meant. */
export function heedWebhookFields(body: unknown): void {
  const top = fieldsOf(body)
  refuseUnknown('', top, WebhookConfig)
  refuseUnknown('filter', fieldsOf(top.filter), WebhookFilter)
}

/** For the body of a git credential: a token under a name that is not known would be none. */
export function heedGitCredentialFields(body: unknown): void {
  const top = fieldsOf(body)
  refuseUnknown('', top, GitCredentialConfig)
  refuseUnknown('github_app', fieldsOf(top.github_app), GitHubApp)
}

function refuseUnknownRepositoryFields(place: string, given: unknown): void {
  for (const [index, repository] of (Array.isArray(given) ? given : []).entries())
    refuseUnknownRepository(`${place}.${index}`, fieldsOf(repository))
}

function refuseUnknownRepository(place: string, repository: Fields): void {
  refuseUnknown(place, repository, Repository)
  refuseUnknown(`${place}.pull_request`, fieldsOf(repository.pull_request), PullRequestAsk)
}

/** For an object that no other API has: what it does not know is a mistake. */
export function refuseUnknown(place: string, fields: Fields, schema: z.ZodObject): void {
  const known = namesOf(schema)
  const path = place === '' ? '' : `${place}.`
  for (const name of Object.keys(fields)) {
    if (known.includes(name)) continue
    const meant = nearest(name, known)
    throw invalid(`${path}${name}: is not known here. ${meant ? `Is ${meant} meant?` : `There are ${either(known)}.`}`)
  }
}

function warnings(path: string, fields: Fields, known: readonly string[]): string[] {
  for (const name of Object.keys(fields)) {
    if (known.includes(name) || fields[name] === null) continue
    const place = ownFields[name]
    if (place !== undefined) throw invalid(`${path}${name}: is in the wrong place; it belongs in ${place}`)
    // Whoever writes this wants the agent held back, and without it the agent may be free.
    if (nearest(name, ['permission_policy']) !== null)
      throw invalid(`${path}${name}: is not known here. Is config.permission_policy meant?`)
  }
  return unknownIn(path, fields, known)
}

function unknownIn(path: string, fields: Fields, known: readonly string[]): string[] {
  return Object.keys(fields)
    .filter((name) => !known.includes(name) && fields[name] !== null)
    .map((name) => {
      const meant = nearest(name, known)
      return `${path}${name} is not known here and has no effect.${meant === null ? '' : ` Is ${path}${meant} meant?`}`
    })
}

const namesOf = (schema: z.ZodObject): string[] => Object.keys(schema.shape)
