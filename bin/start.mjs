// `npm start`: sets up what is missing and starts Ambient. Plain JavaScript, so
// that the Node.js on PATH may be an old one: the project brings its own.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const say = (line) => process.stdout.write(`${line}\n`)

/** Installed packages are not those that the lock file names. */
function packagesAreStale() {
  const wantedFile = join(root, 'package-lock.json')
  // npm writes this file last, so it is missing after an install that broke off.
  const installedFile = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return true
  if (statSync(wantedFile).mtimeMs <= statSync(installedFile).mtimeMs) return false
  // A checkout may have touched the file without changing what it says.
  const packages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages
  const installed = packages(installedFile)
  return Object.entries(packages(wantedFile)).some(
    ([path, { version, optional }]) => path !== '' && !optional && installed[path]?.version !== version,
  )
}

function installPackages() {
  say('Installing packages (npm ci)…')
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm']
  // Install scripts are not needed, and newer versions of npm do not run them unasked.
  const args = [
    ...npm.slice(1),
    'ci',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--engine-strict=false',
    '--loglevel=error',
  ]
  const { status, error } = spawnSync(npm[0], args, { cwd: root, stdio: 'inherit', env: withoutProduction() })
  if (error) fail(`npm could not be run: ${error.message}. Install npm (it comes with Node.js) and start again.`)
  if (status !== 0)
    fail('npm ci did not succeed; its output above says why. Start again when that is put right.', status)
}

/** Settings of a surrounding `npm` call that would leave out packages or change where they go. */
function withoutProduction() {
  const dropped = /^npm_config_(omit|include|production|optional|global|dry_run|only|prefix|local_prefix)$/i
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !dropped.test(name)))
}

function requireNode() {
  const { status, stdout } = spawnSync(join(root, 'bin', 'node'), ['-p', 'process.versions.node'], { encoding: 'utf8' })
  if (status === 0 && Number(stdout.split('.')[0]) >= 24) return
  const name = `node-${process.platform}-${process.arch}`
  fail(
    ['linux-x64', 'linux-arm64'].includes(`${process.platform}-${process.arch}`)
      ? `Node.js 24 is missing: the optional package ${name} was not installed. Run \`npm ci --include=optional\` in ${root}, or put Node.js 24 or newer on PATH, and start again.`
      : `Ambient needs Node.js 24 or newer. It brings one for Linux on x64 and arm64 only; put one on PATH and start again.`,
  )
}

function fail(message, code = 69) {
  process.stderr.write(`ambient: ${message}\n`)
  process.exit(code || 69)
}

/** Where it cannot be made, `ambient start` says why. One by one: all at once, Node tries for ever in some places. */
function makeDirectory(path) {
  if (existsSync(path)) return
  makeDirectory(dirname(path))
  try {
    // Others may pass, as Postgres's own user must, but not look around.
    mkdirSync(path, { mode: 0o711 })
  } catch {
    // Told by `ambient start`.
  }
}

/** Becomes `ambient start`, as far as an old Node.js can: same terminal, same signals, same exit code. */
function start() {
  const data = process.env.AMBIENT_DATA || join(root, '.ambient')
  makeDirectory(data)
  const child = spawn(join(root, 'bin', 'node'), [join(root, 'cli', 'main.ts'), 'start', ...process.argv.slice(2)], {
    stdio: 'inherit',
    // Keeps compiled code, which spares each process the compiler's time and memory.
    env: { NODE_COMPILE_CACHE: join(data, 'cache', 'node'), ...process.env },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  // npm and its shell do not pass every signal on: when they are gone, this is over too.
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    child.kill('SIGTERM')
  }, 500)
  if (!process.env.npm_lifecycle_event) clearInterval(watch)
  child.once('error', (error) => fail(error.message))
  child.once('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)))
}

if (packagesAreStale()) installPackages()
requireNode()
start()
