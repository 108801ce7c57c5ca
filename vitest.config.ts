import { defineConfig } from 'vitest/config'

/** Tests over Docker; `npm run check` is for machines without it too. */
const conformance = [
  '**/conformance.test.ts',
  'environments/checkpoint/checkpoint.test.ts',
  'environments/checkpoint/git-state.test.ts',
  'environments/work-product/work-product.test.ts',
  'environments/direct/bubblewrap.test.ts',
  'environments/docker/daemon-restart.test.ts',
  'environments/docker/egress.test.ts',
  'environments/docker/image-upkeep.test.ts',
  'activities/host/environment.test.ts',
  'activities/host/prepared.test.ts',
  'test/reaper.test.ts',
]
const everywhere = ['**/node_modules/**', '**/.ambient/**']

/** What is waited for comes when it comes: a busy machine is no failure. */
const patient = { expect: { poll: { timeout: 20_000 } } }

export default defineConfig({
  test: {
    // Two cores: more workers only make each test's own processes wait.
    maxWorkers: 2,
    projects: [
      {
        test: {
          ...patient,
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...everywhere, ...conformance, 'test/e2e/**', 'workflows/**'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...patient,
          name: 'workflow',
          include: ['workflows/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...patient,
          name: 'conformance',
          include: conformance,
          exclude: everywhere,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          ...patient,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
})
