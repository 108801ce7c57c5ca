import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { AskedInTurn, MessageText } from '../../domain/host-api.ts'
import { createRedactor } from '../../domain/vault/redaction.ts'
import { createRunDirectory, type RunPaths } from '../../environments/run-directory.ts'
import { takeAsked } from './asked.ts'
import { bringAttachments } from './attachments.ts'
import type { Execution } from './execution.ts'
import type { HostServer } from './server.ts'

const runId = '0b0c7a5e-0000-4000-8000-000000000001'
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }

let directory: string
let paths: RunPaths

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ambient-asked-'))
  paths = await createRunDirectory(directory, runId, owner)
})
afterEach(() => rm(directory, { recursive: true }))

/** An execution whose sandbox sees its workspace as /workspace, and works in its one repository. */
function execution(server: Partial<HostServer>): Execution {
  return {
    deps: { server, host: { owner, paths: () => ({ workspace: '/workspace' }) } },
    ref: { runId, execution: 1 },
    order: { environment: { repos: [{ url: 'https://git.example/a/project.git' }] } },
    state: { paths, get: () => ({ devcontainer: null }) },
    stop: new AbortController().signal,
    redactor: createRedactor([]),
  } as unknown as Execution
}

async function report(path: string): Promise<string> {
  let outcome = ''
  const asked: AskedInTurn = {
    question: null,
    stopped: null,
    files: [{ artifact_uid: 'uid', path }],
    max_file_bytes: 1024 * 1024,
  }
  await takeAsked(
    execution({
      asked: async () => asked,
      sendArtifact: async (_run, _execution, uid, content) => {
        outcome = `${uid}: ${content}`
      },
      refuseArtifact: async (_run, _execution, _uid, reason) => {
        outcome = `refused: ${reason}`
      },
    }),
  )
  return outcome
}

test('a file is found as the agent sees it: from where it works, or by its whole path', async () => {
  await mkdir(join(paths.workspace, 'project', 'out'), { recursive: true })
  await writeFile(join(paths.workspace, 'project', 'out', 'a.txt'), 'in the repository')
  await writeFile(join(paths.workspace, 'b.txt'), 'beside it')
  expect(await report('out/a.txt')).toBe('uid: in the repository')
  expect(await report('/workspace/project/./out/a.txt')).toBe('uid: in the repository')
  expect(await report('../b.txt')).toBe('uid: beside it')
})

test('no way leads out of the workspace, whatever the agent has put there', async () => {
  const secret = join(directory, 'secret')
  await writeFile(secret, 'of the host')
  const project = join(paths.workspace, 'project')
  await mkdir(project)
  await symlink(secret, join(project, 'link'))
  await symlink(directory, join(project, 'directory'))
  await execa('mkfifo', [join(project, 'pipe')])
  await writeFile(join(project, 'large'), '')
  await truncate(join(project, 'large'), 1024 ** 4)
  for (const [path, reason] of [
    ['link', /symbolic link/],
    ['directory/secret', /symbolic link/],
    ['pipe', /no regular file/],
    ['.', /no regular file/],
    ['large', /larger than 1 MiB/],
    ['nothing', /no such file/],
    ['../../secret', /not in the workspace/],
    [secret, /not in the workspace/],
    ['/workspace', /not in the workspace/],
    ['/etc/passwd', /not in the workspace/],
  ] as const) {
    expect([path, await report(path)]).toEqual([path, expect.stringMatching(reason)])
  }
})

test('what came with a message is put where no link leads out, and told by its path', async () => {
  const attached: NonNullable<MessageText['attachments']> = [
    { uid: '1', file_name: 'a.txt', mime_type: 'text/plain', bytes: 1 },
    { uid: '2', file_name: 'a.txt', mime_type: 'text/plain', bytes: 1 },
    { uid: '3', file_name: 'shot.png', mime_type: 'image/png', bytes: 1 },
    { uid: '4', file_name: 'old.txt', mime_type: 'text/plain', bytes: null },
  ]
  const own = execution({ attachment: async (_run, uid) => Buffer.from(`content ${uid}`) })
  const messageId = '1a2b3c4d-0000-4000-8000-000000000001'
  for (const _again of [1, 2]) {
    const { note, images } = await bringAttachments(own, null, messageId, attached)
    expect(note).toContain('- /workspace/.ambient/attachments/1a2b3c4d/a.txt (text/plain)')
    expect(note).toContain('- /workspace/.ambient/attachments/1a2b3c4d/2-a.txt (text/plain)')
    expect(note).toContain('- old.txt (text/plain), which is not kept any more')
    expect(images).toEqual([{ mimeType: 'image/png', data: Buffer.from('content 3').toString('base64') }])
  }
  const put = join(paths.workspace, '.ambient/attachments/1a2b3c4d')
  expect(await readFile(join(put, '2-a.txt'), 'utf8')).toBe('content 2')

  await rm(join(paths.workspace, '.ambient'), { recursive: true })
  const outside = join(directory, 'outside')
  await mkdir(outside)
  await symlink(outside, join(paths.workspace, '.ambient'))
  await expect(bringAttachments(own, null, messageId, attached)).rejects.toThrow()
  await expect(readFile(join(outside, 'attachments/1a2b3c4d/a.txt'))).rejects.toThrow('ENOENT')
})
