// A repository of many files and many packages: real ones where a registry can be reached, else made-up ones of the bench's own.
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { getCACertificates } from 'node:tls'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { execa } from 'execa'
import { pack } from 'tar-stream'

const FOLDERS = 500
const FILES_IN_FOLDER = 100

/** A web application's, as many have them: some 1,100 packages and 650 MB with what they depend on. */
const DEPENDENCIES = {
  '@babel/core': '7.26.0',
  '@babel/preset-env': '7.26.0',
  '@babel/preset-react': '7.26.3',
  '@babel/preset-typescript': '7.26.0',
  '@mui/material': '6.1.9',
  '@reduxjs/toolkit': '2.4.0',
  '@typescript-eslint/eslint-plugin': '8.17.0',
  '@typescript-eslint/parser': '8.17.0',
  'babel-jest': '29.7.0',
  'css-loader': '7.1.2',
  'date-fns': '4.1.0',
  eslint: '8.57.1',
  'eslint-plugin-import': '2.31.0',
  'eslint-plugin-jsx-a11y': '6.10.2',
  'eslint-plugin-react': '7.37.2',
  'eslint-plugin-react-hooks': '4.6.2',
  express: '4.21.2',
  'html-webpack-plugin': '5.6.3',
  jest: '29.7.0',
  'jest-environment-jsdom': '29.7.0',
  lodash: '4.17.21',
  next: '15.0.4',
  'postcss-loader': '8.1.1',
  prettier: '3.4.2',
  react: '18.3.1',
  'react-dom': '18.3.1',
  rxjs: '7.8.1',
  storybook: '8.4.7',
  tailwindcss: '3.4.16',
  typescript: '5.7.2',
  vite: '4.5.5',
  webpack: '5.97.1',
  'webpack-cli': '5.1.4',
  'webpack-dev-server': '5.1.0',
}
const REACH_MS = 10_000
const LOCK_MS = 10 * 60_000

const MADE_UP_PACKAGES = 1_000
/** As large as those of a real project: 1,126 packages of one took 744 MB. */
const FILES_IN_PACKAGE = 60
const LINES_IN_FILE = 200

/** The registry that this machine's npm is set to. */
export interface ConfiguredRegistry {
  url: string
  /** The certificates that this machine trusts beside those that Node.js comes with, as PEM. */
  authorities: string
}

/** @returns null where it cannot be reached. */
export async function configuredRegistry(): Promise<ConfiguredRegistry | null> {
  const setting = async (name: string) => (await execa('npm', ['config', 'get', name])).stdout.trim()
  const [url, file] = [await setting('registry'), await setting('cafile')]
  const cafile = file === 'null' || file === '' ? null : file
  // Without the user's own settings: a sandbox has no credentials either.
  const settings = ['--userconfig=/dev/null', `--registry=${url}`, ...(cafile === null ? [] : [`--cafile=${cafile}`])]
  const { failed } = await execa('npm', ['view', 'typescript', 'name', '--fetch-retries=0', ...settings], {
    reject: false,
    timeout: REACH_MS,
  })
  if (failed) return null
  // Those of NODE_EXTRA_CA_CERTS, and those that npm is given.
  const authorities = [...getCACertificates('extra'), ...(cafile === null ? [] : [await readFile(cafile, 'utf8')])]
  return { url, authorities: authorities.join('\n') }
}

export interface OwnRegistry {
  url: string
  /** By the names of its packages. */
  integrity: ReadonlyMap<string, string>
  close(): Promise<void>
}

/** Serves npm itself at `/npm.tar.gz` and, where it has any packages, `/<name>/-/<name>-1.0.0.tgz`. */
export async function startOwnRegistry({ packages }: { packages: boolean }): Promise<OwnRegistry> {
  const files = new Map<string, Buffer>([['/npm.tar.gz', await npmArchive()]])
  const integrity = new Map<string, string>()
  for (let number = 1; packages && number <= MADE_UP_PACKAGES; number++) {
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
  /** That its lockfile lists. */
  packages: number
  /** What its set-up runs. */
  setUp: string[]
  /** Adds a commit that changes one file, and none that the set-up depends on. */
  push(): Promise<void>
}

/**
 * Its packages are real where a registry is configured, and else those of `own`.
 * @param ownUrl where sandboxes find `own`
 */
export async function largeRepository(
  { configured, own, ownUrl }: { configured: ConfiguredRegistry | null; own: OwnRegistry; ownUrl: string },
  cleanUp: AsyncDisposableStack,
): Promise<LargeRepository> {
  const path = await mkdtemp(join(tmpdir(), 'ambient-large-'))
  cleanUp.defer(() => rm(path, { recursive: true, force: true }))
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
  const install = configured === null ? await lockMadeUp(path, ownUrl, own.integrity) : await lockReal(path, configured)
  const lock = JSON.parse(await readFile(join(path, 'package-lock.json'), 'utf8')) as { packages: object }
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'All of it')
  let pushes = 0
  return {
    url: `file://${path}`,
    files: FOLDERS * FILES_IN_FOLDER,
    // The first is the repository itself.
    packages: Object.keys(lock.packages).length - 1,
    setUp: [
      `curl -fsS ${ownUrl}/npm.tar.gz | tar -xz -C "$HOME"`,
      `${install.env}/opt/ambient/node "$HOME/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error ${install.options}`,
    ],
    async push() {
      pushes += 1
      await writeFile(join(path, 'src', 'folder-0', 'file-0.ts'), `export const value = '${pushes}'\n`)
      await git('commit', '--quiet', '--all', '--message', `Change ${pushes}`)
    },
  }
}

/** What `npm ci` is to be given in a sandbox, in front of it and behind. */
interface Install {
  env: string
  options: string
}

const OWN = { name: 'large', version: '1.0.0' }

async function lockReal(path: string, { url, authorities }: ConfiguredRegistry): Promise<Install> {
  await writeFile(join(path, 'package.json'), JSON.stringify({ ...OWN, dependencies: DEPENDENCIES }, null, 2))
  // With the addresses of the packages whatever this machine is set to, as most lockfiles have them.
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--omit-lockfile-registry-resolved=false']
  await execa('npm', ['install', '--package-lock-only', ...quietly], { cwd: path, timeout: LOCK_MS })
  const options = `--registry '${url}'`
  if (authorities === '') return { env: '', options }
  await writeFile(join(path, 'authorities.pem'), authorities)
  return { env: 'NODE_EXTRA_CA_CERTS="$PWD/authorities.pem" ', options }
}

async function lockMadeUp(path: string, registry: string, integrity: ReadonlyMap<string, string>): Promise<Install> {
  const own = { ...OWN, dependencies: Object.fromEntries([...integrity.keys()].map((name) => [name, '1.0.0'])) }
  const locked = [...integrity].map(([name, hash]) => [
    `node_modules/${name}`,
    { version: '1.0.0', resolved: `${registry}/${name}/-/${name}-1.0.0.tgz`, integrity: hash },
  ])
  const lock = { ...own, lockfileVersion: 3, requires: true, packages: { '': own, ...Object.fromEntries(locked) } }
  await writeFile(join(path, 'package.json'), JSON.stringify(own, null, 2))
  await writeFile(join(path, 'package-lock.json'), JSON.stringify(lock, null, 2))
  return { env: '', options: `--registry ${registry}/` }
}
