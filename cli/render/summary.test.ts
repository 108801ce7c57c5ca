import { expect, test } from 'vitest'
import type { RequestUsage } from '../../domain/money/money.ts'
import type { RunItem } from '../../domain/run.ts'
import { plainStyle } from './style.ts'
import { noTotals, renderSummary } from './summary.ts'

const tokens = { input: 1_000, input_cache_read: 12_000, input_cache_write: 300, output: 45 }
const cost = { input: 0.01, input_cache_read: 0.01, input_cache_write: 0, output: 0.01 }

const used = (more: Partial<RequestUsage> = {}) =>
  ({
    inference_cost_usd: 0.03,
    compute_cost_usd: 0.01,
    total_tokens: 13_345,
    usage_by_category: {
      primary_agent: {
        platform_usage_usd: 0,
        direct_api_inference_usage: { 'claude-opus-5-5': { cost_usd: cost, token_count: tokens } },
      },
    },
    unpriced_calls: 0,
    ...more,
  }) as RequestUsage

const run = (more: Partial<RunItem>) =>
  ({
    run_id: 'bbbb0000-0000-4000-8000-000000000001',
    state: 'SUCCEEDED',
    execution: 1,
    run_time: 'PT5S',
    questions: [],
    demo: false,
    ...more,
  }) as RunItem

test('beside the cost stand all tokens that were counted, with those from caches, and not what the agent says', () => {
  const summary = renderSummary(
    run({ request_usage: used() }),
    { ...noTotals, tokens: 1_045, isPart: true },
    plainStyle,
  )
  expect(summary).toContain('✓ Succeeded · 5.0 s · 13,345 tokens, 12,000 of them from caches · $0.040\n')
  const own = renderSummary(run({ request_usage: used({ total_tokens: 0 }) }), { ...noTotals, tokens: 7 }, plainStyle)
  expect(own).toContain('· 7 tokens ·')
})

test('calls whose price is unknown are told where the cost is', () => {
  const summary = renderSummary(run({ request_usage: used({ unpriced_calls: 2 }) }), noTotals, plainStyle)
  expect(summary).toContain('The cost leaves out 2 model calls: the price of the model is not known here.')
  const demo = renderSummary(run({ request_usage: used({ unpriced_calls: 2 }), demo: true }), noTotals, plainStyle)
  expect(demo).not.toContain('leaves out')
})

test('a run that waits for more to spend says what to do, and offers no answer', () => {
  const title = `The budget of the team for this month is used up: $5.00 of $5.00. ${'Raise it, or cancel the run. '.repeat(5)}`
  const next_step = 'Raise that budget: `ambient budgets change B --usd N` (PUT /agent/budgets/B).'
  const question = { question_id: 'q', title, tool_call: null, options: [], about: 'budget' as const, next_step }
  const summary = renderSummary(run({ state: 'BLOCKED', questions: [question] }), noTotals, plainStyle)
  expect(summary).toContain(`  Next: ${next_step}\n`)
  expect(summary).toContain('ambient budgets show bbbb0000')
  expect(summary).not.toMatch(/permission|allow|deny|ambient answer/)
})
