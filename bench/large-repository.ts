// A repository of many files whose packages come from a registry of its own, so that nothing is asked of the outside.
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { execa } from 'execa'
import { pack } from 'tar-stream'

const FOLDERS = 500
const FILES_IN_FOLDER = 100
export const PACKAGES = 1_000
/** As large as those of a real project: 1,126 packages of one took 744 MB. */
const FILES_IN_PACKAGE = 60
const LINES_IN_FILE = 200

export interface Registry {
  url: string
  /** By the names of the packages. */
  integrity: ReadonlyMap<string, string>
  close(): Promise<void>
}

/** Serves `/<name>/-/<name>-1.0.0.tgz`, and npm itself at `/npm.tar.gz`. */
export async function startRegistry(): Promise<Registry> {
  const files = new Map<string, Buffer>([['/npm.tar.gz', await npmArchive()]])
  const integrity = new Map<string, string>()
  for (let number = 1; number <= PACKAGES; number++) {
    const name = `package-${String(number).padStart(4, '0')}`
    const archive = await packageArchive(name)
    files.set(`/${name}/-/${name}-1.0.0.tgz`, archive)
    integrity.set(name, `sha512-${createHash('sha512').update(archive).digest('base64')}`)
  }
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? '')
    response.writeHead(file === undefined ? 404 : 200, { 'content-length': file?.length ?? 0 }).end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    integrity,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const compress = promisify(gzip)

async function packageArchive(name: string): Promise<Buffer> {
  const archive = pack()
  archive.entry({ name: 'package/package.json' }, JSON.stringify({ name, version: '1.0.0', main: 'file-1.js' }))
  for (let file = 1; file < FILES_IN_PACKAGE; file++) {
    const line = `exports.value${file} = '${name} ${file} ${'x'.repeat(20)}'\n`
    archive.entry({ name: `package/file-${file}.js` }, line.repeat(LINES_IN_FILE))
  }
  archive.finalize()
  return await compress(await buffer(archive), { level: 1 })
}

/** The npm of this machine: sandboxes have a Node.js and no npm. */
async function npmArchive(): Promise<Buffer> {
  const { stdout: program } = await execa('sh', ['-c', 'readlink -f "$(command -v npm)"'])
  const found = /^(.*)\/npm\/bin\/npm-cli\.js$/.exec(program)
  if (found?.[1] === undefined) throw new Error(`npm is not as its makers publish it: ${program}`)
  const { stdout } = await execa('tar', ['-czf', '-', '-C', found[1], 'npm'], { encoding: 'buffer' })
  return Buffer.from(stdout)
}

export interface LargeRepository {
  url: string
  files: number
  /** What its set-up runs. */
  setUp: string[]
  /** Adds a commit that changes one file, and none that the set-up depends on. */
  push(): Promise<void>
  remove(): Promise<void>
}

/** `registry` is where sandboxes find it. */
export async function largeRepository(
  registry: string,
  integrity: ReadonlyMap<string, string>,
): Promise<LargeRepository> {
  const path = await mkdtemp(join(tmpdir(), 'ambient-large-'))
  const git = (...args: string[]) => execa('git', ['-C', path, ...args])
  await git('init', '--quiet', '--initial-branch=main')
  for (const [name, value] of [
    ['user.name', 'Bench'],
    ['user.email', 'bench@example.com'],
    ['gc.auto', '0'],
  ] as const)
    await git('config', name, value)
  for (let folder = 0; folder < FOLDERS; folder++) {
    const directory = join(path, 'src', `folder-${folder}`)
    await mkdir(directory, { recursive: true })
    await Promise.all(
      Array.from({ length: FILES_IN_FOLDER }, (_, file) =>
        writeFile(join(directory, `file-${file}.ts`), `export const value = '${folder} ${file}'\n`.repeat(15)),
      ),
    )
  }
  await writeFile(join(path, '.gitignore'), 'node_modules\n')
  const dependencies = Object.fromEntries([...integrity.keys()].map((name) => [name, '1.0.0']))
  const own = { name: 'large', version: '1.0.0', dependencies }
  const locked = [...integrity].map(([name, hash]) => [
    `node_modules/${name}`,
    { version: '1.0.0', resolved: `${registry}/${name}/-/${name}-1.0.0.tgz`, integrity: hash },
  ])
  const lock = { ...own, lockfileVersion: 3, requires: true, packages: { '': own, ...Object.fromEntries(locked) } }
  await writeFile(join(path, 'package.json'), JSON.stringify(own, null, 2))
  await writeFile(join(path, 'package-lock.json'), JSON.stringify(lock, null, 2))
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'All of it')
  let pushes = 0
  return {
    url: `file://${path}`,
    files: FOLDERS * FILES_IN_FOLDER,
    setUp: [
      `curl -fsS ${registry}/npm.tar.gz | tar -xz -C "$HOME"`,
      `/opt/ambient/node "$HOME/npm/bin/npm-cli.js" ci --no-audit --no-fund --loglevel=error --registry ${registry}/`,
    ],
    async push() {
      pushes += 1
      await writeFile(join(path, 'src', 'folder-0', 'file-0.ts'), `export const value = '${pushes}'\n`)
      await git('commit', '--quiet', '--all', '--message', `Change ${pushes}`)
    },
    remove: () => rm(path, { recursive: true, force: true }),
  }
}
