// The Temporal server of the tests that let days pass: fetched once, by the SDK, or with Maven where that download cannot be reached.
import { spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'

/** The release of io.temporal:temporal-test-server that is run with this machine's Java. */
const MAVEN_VERSION = '1.38.0'

interface Options {
  /** Where it is kept. */
  directory: string
  say: (line: string) => void
}

/** The program's path; null where none can be had, which has been said. */
export async function findTimeSkippingServer({ directory, say }: Options): Promise<string | null> {
  const program = join(directory, 'server')
  if (isProgram(program)) return program
  mkdirSync(directory, { recursive: true })
  const reasons: string[] = []
  for (const fetch of [download, assemble]) {
    const staging = mkdtempSync(join(directory, 'new-'))
    try {
      say(`fetching Temporal's time-skipping test server (once): ${fetch.name}`)
      await fetch(staging, directory)
      return program
    } catch (error) {
      reasons.push(`${fetch.name}: ${error instanceof Error ? error.message : error}`)
    } finally {
      rmSync(staging, { recursive: true, force: true })
    }
  }
  say(`NO TIME SKIPPING on this machine, so the tests that let days pass are skipped. ${reasons.join('; ')}`)
  return null
}

async function download(staging: string, directory: string): Promise<void> {
  // Loaded here alone: the native library is of no use once the program is there.
  const { TestWorkflowEnvironment } = await import('@temporalio/testing')
  const executable = { type: 'cached-download', downloadDir: staging } as const
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } })
  await environment.teardown()
  const [name] = readdirSync(staging).filter((file) => isProgram(join(staging, file)))
  if (name === undefined) throw new Error('nothing arrived')
  renameSync(join(staging, name), join(directory, 'server'))
}

/** Its classes, as their makers publish them, started by the machine's Java. */
async function assemble(staging: string, directory: string): Promise<void> {
  await run('java', ['-version'])
  const pom = join(staging, 'pom.xml')
  const classes = join(directory, `classes-${MAVEN_VERSION}`)
  writeFileSync(
    pom,
    `<project xmlns="http://maven.apache.org/POM/4.0.0">
      <modelVersion>4.0.0</modelVersion>
      <groupId>ambient</groupId><artifactId>time-skipping</artifactId><version>1</version>
      <dependencies><dependency>
        <groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId><version>${MAVEN_VERSION}</version>
      </dependency></dependencies>
    </project>`,
  )
  const arrived = join(staging, 'classes')
  await run('mvn', [
    ...['--quiet', '--batch-mode', '--file', pom, 'dependency:copy-dependencies'],
    ...['-DincludeScope=runtime', `-DoutputDirectory=${arrived}`],
  ])
  rmSync(classes, { recursive: true, force: true })
  renameSync(arrived, classes)
  const script = join(staging, 'server')
  const classPath = `$(dirname "$0")/${basename(classes)}/*`
  writeFileSync(script, `#!/bin/sh\nexec java -cp "${classPath}" io.temporal.testserver.TestServer "$@"\n`, {
    mode: 0o755,
  })
  renameSync(script, join(directory, 'server'))
}

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // Not there, or not to be run.
  }
}

/** @throws with the last lines of what it said. */
async function run(command: string, args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const said: string[] = []
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on('line', (line) => {
      said.push(line)
      if (said.length > 3) said.shift()
    })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(said.join(' / ') || `${command} ended with ${code}`)
}
