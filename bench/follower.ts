// The baseline of a recovery: prints a file's lines as they come, from where a predecessor that was killed has noted it was.
import { once } from 'node:events'
import { open, readFile, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

const [file = ''] = process.argv.slice(2)
const note = `${file}.read`
const EVERY_MS = 10

// Ends with the bench, whatever becomes of that.
process.stdin.once('close', () => process.exit()).resume()
const output = await open(file)
let position = Number(await readFile(note, 'utf8').catch(() => '0')) // The first one finds none.
for (;;) {
  const { buffer, bytesRead } = await output.read(Buffer.alloc(65_536), 0, 65_536, position)
  const whole = buffer.subarray(0, buffer.lastIndexOf('\n', bytesRead - 1) + 1)
  if (bytesRead > 0 && whole.length > 0) {
    if (!process.stdout.write(whole)) await once(process.stdout, 'drain')
    position += whole.length
    await writeFile(note, String(position))
  } else await delay(EVERY_MS)
}
