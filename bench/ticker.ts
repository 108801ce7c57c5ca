// What the stream's measure runs: says that it is ready, waits for the file to appear, then prints the time in ms every so often.
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const [go = '', everyMs = '', forMs = ''] = process.argv.slice(2)
const say = (line: string | number) => process.stdout.write(`${line}\n`)
// Nobody reads any more.
process.stdout.on('error', () => process.exit())

say('ready')
while (!existsSync(go)) {
  // Nobody measures any more.
  if (!existsSync(dirname(go))) process.exit()
  await delay(20)
}
// Those that run side by side do not all speak at the same moment.
await delay(Math.random() * Number(everyMs))
const timer = setInterval(() => say(Date.now()), Number(everyMs))
setTimeout(() => clearInterval(timer), Number(forMs))
