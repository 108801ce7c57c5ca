import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestApi } from '../support/api.ts'
import { fuzz, startServerToFuzz } from './fuzz.ts'

const REQUESTS = 500

let api: TestApi
beforeAll(async () => {
  api = await startServerToFuzz()
})
afterAll(() => api.close())

test('whatever is sent to any route, no answer is of 500 or more, and each is as the document says', async () => {
  const { requests, answers } = await fuzz(api, { seed: 20_260_131, requests: REQUESTS })
  expect(requests).toBe(REQUESTS)
  // It gets through to the routes behind the checks as well.
  expect([...answers.keys()]).toContain('POST /agent/runs 200')
}, 120_000)
