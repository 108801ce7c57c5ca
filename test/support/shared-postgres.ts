// For all test files, one Postgres: started when the first of them asks, ended with the last.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestProject } from 'vitest/node'
import { root } from '../../config.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Answers with the URL of the cluster once that is up. */
    postgres: string
  }
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  let started: ReturnType<typeof startPostgres> | undefined
  const server = createServer((_request, response) => {
    started ??= startPostgres()
    started.then(
      ({ url }) => response.end(url),
      (error) => response.writeHead(500).end(String(error)),
    )
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  project.provide('postgres', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  return async () => {
    server.close()
    await (await started?.catch(() => null))?.stop()
  }
}

/** In a process of its own: Vitest's own one resolves modules by other rules than Node. */
async function startPostgres() {
  const child = spawn(process.execPath, [join(root, 'test', 'support', 'postgres-server.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const ended = exited.then(([code]): never => {
    throw new Error(`the tests' Postgres ended with ${code}`)
  })
  ended.catch(() => {}) // Its end later on is wanted.
  const [url] = (await Promise.race([once(createInterface(child.stdout), 'line'), ended])) as [string]
  return {
    url,
    async stop() {
      child.stdin.end()
      await exited
    },
  }
}
