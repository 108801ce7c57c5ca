// `ambient demo`: the way of a run, from a repository to a branch, told step by step.
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { typed } from '../../config.ts'
import { connect, isLocal } from '../connect.ts'
import { type ExitCode, exitCodes, usageError } from '../exit.ts'
import { follow } from '../follow.ts'
import { git } from '../git.ts'
import { renderPatch } from '../patch.ts'
import { shortId } from '../render/summary.ts'
import { createScreen, type Screen } from '../screen.ts'
import { deliver } from './apply.ts'

const TASK =
  'Look at this small project and write AMBIENT_DEMO.md: in a few lines, what the project is and what you looked at.'
const SECOND_TASK = 'Thank you. In one sentence: what would you do next in this project?'
const BRANCH = 'ambient-demo'
const STEPS = 5

export async function demo(): Promise<ExitCode> {
  const screen = createScreen()
  const api = connect()
  if (!isLocal(api.url)) {
    throw usageError(
      'The demo works on a repository of this machine, which the server elsewhere cannot see.',
      `Run it on the server’s machine, or: ${typed} run "…" --repo https://…`,
    )
  }
  // Says what is wrong before a repository is made for nothing.
  await api.list({ limit: 1 })

  step(screen, 1, 'A small git repository to work on')
  const repository = await sampleRepository()
  screen.write(`  ${repository}\n`)

  step(screen, 2, 'An agent works on it in the background')
  screen.write(`  The same as: ${typed} run "${TASK.slice(0, 30)}…" --repo ${repository} --permission allow\n`)
  const started = await api.start({
    prompt: TASK,
    title: 'Demo: describe a small project',
    config: { permission_policy: 'allow' },
    environment: { repos: [{ url: pathToFileURL(repository).href, ref: 'main' }] },
    metadata: { demo: 'true' },
  })
  const run = await api.get(started.run_id)
  const id = shortId(run)
  screen.write(
    run.demo
      ? `  No model key is set, so a scripted model plays the model's part; everything else is real:\n  a durable workflow, a sandbox, a clone of the repository, and a real agent.\n`
      : '  A model key is set, so this is a real agent with a real model.\n',
  )
  screen.write(`  Run ${id}. It would go on without this terminal; Ctrl-C only stops watching.\n\n`)
  const first = await follow({ api, screen, run, after: 0, json: false, bringsHome: true })
  if (first.exitCode !== exitCodes.succeeded) return first.exitCode

  step(screen, 3, 'The work comes home as a branch')
  const branch = { name: BRANCH, into: repository, force: false }
  const changed = await deliver(api, screen, run.run_id, { branch, patch: null, json: false })
  if (changed) {
    const patch = await git(['diff', `main...${BRANCH}`], { cwd: repository })
    screen.write(`  What it changes (git diff main...${BRANCH}):\n\n${renderPatch(patch, screen.style)}\n`)
  }

  step(screen, 4, 'A second message, to the same agent, which remembers the first')
  const { last_event_sequence: after } = await api.get(run.run_id)
  await api.send(run.run_id, SECOND_TASK, 'queue')
  const second = await follow({ api, screen, run: await api.get(run.run_id), after, json: false })
  if (second.exitCode !== exitCodes.succeeded) return second.exitCode

  step(screen, STEPS, 'What happened, and where to look')
  screen.write(outlook(id, repository, run.demo))
  return exitCodes.succeeded
}

function step(screen: Screen, number: number, title: string): void {
  screen.write(`\n${screen.style.colours.bold(`${number}/${STEPS} ${title}`)}\n`)
}

async function sampleRepository(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ambient-demo-'))
  await writeFile(join(directory, 'README.md'), '# Greeter\n\nSays hello. A sample project for `ambient demo`.\n')
  await writeFile(
    join(directory, 'greet.sh'),
    '#!/bin/sh\n# Greets everyone who is named.\nfor name in "$@"; do echo "Hello, $name!"; done\n',
  )
  const author = ['-c', 'user.name=Ambient demo', '-c', 'user.email=demo@localhost', '-c', 'commit.gpgSign=false']
  await git(['init', '--quiet', '--initial-branch=main'], { cwd: directory })
  await git(['add', '--all'], { cwd: directory })
  await git([...author, 'commit', '--quiet', '--message', 'A small greeter'], { cwd: directory })
  return directory
}

function outlook(id: string, repository: string, scripted: boolean): string {
  const commands: [string, string][] = [
    [`${typed} runs show ${id}`, 'this run: its state, configuration and result'],
    [`${typed} logs ${id}`, 'its transcript, which is kept'],
    [`${typed} send ${id} "…"`, 'go on with it'],
    [`${typed} runs`, 'all runs'],
    [`git -C ${repository} log -p ${BRANCH}`, 'the branch (remove the directory when done)'],
    [`${typed} run "…" --repo . --branch`, 'your own repository'],
  ]
  const key = scripted
    ? '\n  This was a demo with a scripted model. For real work set ANTHROPIC_API_KEY, OPENAI_API_KEY or\n  GEMINI_API_KEY and start Ambient again.\n'
    : ''
  return (
    '  The run was a durable workflow: had the server, the worker or this terminal died on the way,\n' +
    '  it would have gone on where it was. Two messages made two turns of the same agent.\n\n' +
    commands.map(([command, what]) => `  ${command}\n      ${what}\n`).join('') +
    key
  )
}
