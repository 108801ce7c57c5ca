import { z } from 'zod'
import {
  BuildItem,
  BuildLogPage,
  BuildLogQuery,
  BuildPage,
  BuildQuery,
  EnvironmentConfig,
  EnvironmentItem,
  EnvironmentList,
  EnvironmentQuery,
  StartBuild,
  StartedBuilds,
} from '../../domain/environment.ts'
import { json, nothing, type Section } from './declaration.ts'
import { build, createdAt, environment, environmentBody } from './examples.ts'

const line = { position: 12, time: createdAt, source: 'setup-1', line: 3, text: 'added 212 packages in 4s' }

export const environments: Section = {
  name: 'Environments',
  description: 'Where runs of a team work, under a name; and the builds that runs start from.',
  routes: [
    {
      method: 'get',
      path: '/agent/environments',
      id: 'listEnvironments',
      summary: 'List environments',
      query: EnvironmentQuery,
      answers: { 200: json(EnvironmentList, { environments: [environment] }) },
    },
    {
      method: 'post',
      path: '/agent/environments',
      id: 'createEnvironment',
      summary: 'Store an environment',
      body: { schema: EnvironmentConfig, example: environmentBody },
      idempotent: true,
      answers: { 201: json(EnvironmentItem, environment) },
      errors: { 409: 'The name is taken.' },
    },
    {
      method: 'get',
      path: '/agent/environments/{uid}',
      id: 'getEnvironment',
      summary: 'Read an environment',
      answers: { 200: json(EnvironmentItem, environment) },
    },
    {
      method: 'put',
      path: '/agent/environments/{uid}',
      id: 'replaceEnvironment',
      summary: 'Replace an environment',
      description:
        'A field that is left out is as if it had never been given. What was shown in place of a secret stands for the stored one.',
      body: { schema: EnvironmentConfig, example: environmentBody },
      answers: { 200: json(EnvironmentItem, environment) },
      errors: { 409: 'The name is taken.' },
    },
    {
      method: 'delete',
      path: '/agent/environments/{uid}',
      id: 'deleteEnvironment',
      summary: 'Delete an environment',
      answers: { 204: nothing('It is gone. Runs keep their copies.') },
    },
    {
      method: 'get',
      path: '/agent/environments/{uid}/builds',
      id: 'listBuilds',
      summary: 'List builds',
      description: 'The newest first.',
      query: BuildQuery,
      answers: { 200: json(BuildPage, { builds: [build], page_info: { has_next_page: false } }) },
    },
    {
      method: 'post',
      path: '/agent/environments/{uid}/builds',
      id: 'startBuilds',
      summary: 'Build an environment',
      body: { schema: StartBuild, example: { reason: 'manual', force: true }, optional: true },
      idempotent: true,
      answers: { 202: json(StartedBuilds, { builds: [build] }, 'One build for each host.') },
      errors: { 409: '`prepare` is false: there is nothing to build; or no host that could build it is connected.' },
    },
    {
      method: 'get',
      path: '/agent/environments/{uid}/builds/{buildId}',
      id: 'getBuild',
      summary: 'Read a build',
      answers: { 200: json(BuildItem, build) },
    },
    {
      method: 'get',
      path: '/agent/environments/{uid}/builds/{buildId}/log',
      id: 'readBuildLog',
      summary: 'Read the log of a build, by pages or as a stream',
      description: 'With `Accept: text/event-stream`, server-sent events up to the end of the build.',
      query: BuildLogQuery,
      headers: { 'Last-Event-ID': 'Of a stream: the last position that was read.' },
      answers: {
        200: {
          description: 'In order.',
          content: {
            'application/json': {
              schema: BuildLogPage,
              example: {
                lines: [line],
                page_info: { has_next_page: false, next_cursor: '12', state: 'READY', is_over: true },
              },
            },
            'text/event-stream': {
              schema: z.string(),
              example: `id: 12\ndata: ${JSON.stringify(line)}\n\nevent: end\ndata: {"state":"READY","last_position":12}\n\n`,
            },
          },
        },
      },
    },
    {
      method: 'post',
      path: '/agent/environments/{uid}/builds/{buildId}/cancel',
      id: 'cancelBuild',
      summary: 'Cancel a build',
      answers: {
        202: json(
          BuildItem,
          { ...build, state: 'BUILDING', finished_at: null, result: null },
          'It ends when its host has stopped.',
        ),
      },
      errors: { 409: 'The build is over.' },
    },
  ],
}
