import {
  ConnectedWorkers,
  CreatedWorkerKey,
  NewWorkerKey,
  WorkerItem,
  WorkerKeyList,
  WorkerList,
} from '../../domain/worker.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, messageId, updatedAt, worker } from './examples.ts'

const key = {
  uid: messageId,
  name: 'rack 3',
  key_prefix: 'ww-4f0c2b',
  pool: null,
  created_at: createdAt,
  last_used_at: null,
}

export const workers: Section = {
  name: 'Workers',
  description:
    'The machines that run sandboxes. Worker is the word of Oz for a host, `worker_host` for a pool of them.',
  routes: [
    {
      method: 'get',
      path: '/agent/workers',
      id: 'listWorkers',
      summary: 'List hosts',
      answers: { 200: json(WorkerList, { workers: [worker] }) },
    },
    {
      method: 'get',
      path: '/agent/connected-self-hosted-workers',
      id: 'listConnectedWorkers',
      summary: 'List pools with connected hosts',
      answers: {
        200: json(ConnectedWorkers, {
          workers: [{ worker_host: 'default', connection_count: 1, connected_at: createdAt, last_seen_at: updatedAt }],
        }),
      },
    },
    {
      method: 'post',
      path: '/agent/workers/{workerId}/drain',
      id: 'drainWorker',
      summary: 'Have a host take no new run',
      answers: { 200: json(WorkerItem, { ...worker, state: 'draining', draining_at: updatedAt }) },
    },
    {
      method: 'post',
      path: '/agent/workers/{workerId}/undrain',
      id: 'undrainWorker',
      summary: 'Have a host take runs again',
      answers: { 200: json(WorkerItem, worker) },
    },
    {
      method: 'delete',
      path: '/agent/workers/{workerId}',
      id: 'removeWorker',
      summary: 'Forget a host that is gone',
      answers: { 204: nothing('It is forgotten.') },
      errors: { 409: 'It is connected.' },
    },
    {
      method: 'get',
      path: '/agent/workers/keys',
      id: 'listWorkerKeys',
      summary: 'List worker keys',
      description: 'Those in force, without the keys themselves.',
      answers: { 200: json(WorkerKeyList, { keys: [key] }) },
    },
    {
      method: 'post',
      path: '/agent/workers/keys',
      id: 'createWorkerKey',
      summary: 'Make a worker key',
      body: { schema: NewWorkerKey, example: { name: 'rack 3' } },
      answers: {
        201: json(
          CreatedWorkerKey,
          { ...key, key: 'ww-4f0c2b7d9e1a6c3f5b8d0e2a4c6f8b1d' },
          'The key is shown this once.',
        ),
      },
    },
    {
      method: 'delete',
      path: '/agent/workers/keys/{keyId}',
      id: 'revokeWorkerKey',
      summary: 'Revoke a worker key',
      answers: { 204: nothing('Hosts that have it are refused from now on.') },
    },
  ],
}
