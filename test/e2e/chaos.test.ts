// A short `npm run chaos`: what parts do when others die in the middle of their work is also a matter of the moment.
import { expect, onTestFailed, onTestFinished, test } from 'vitest'
import { readOptions } from '../../chaos/options.ts'
import { runChaos } from '../../chaos/run.ts'

test('runs end right, with nothing lost, doubled or left, while every part is killed at random', async () => {
  const options = readOptions(['--runs', '16', '--seed', '2031', '--every', '5'])
  if (options === null) throw new Error('no usage was asked for')
  const lines: string[] = []
  const stopping = new AbortController()
  onTestFailed(() => {
    process.stderr.write(`${lines.slice(-30).join('\n')}\n`)
  })
  onTestFinished(() => stopping.abort())
  const report = await runChaos(options, (line) => lines.push(line), stopping.signal)
  expect(report.differences, lines.join('\n')).toEqual([])
  expect(report).toMatchObject({ runs: { direct: 8, docker: 8 } })
  expect(Object.values(report.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(2)
}, 480_000)
