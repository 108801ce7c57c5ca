import { defineConfig } from 'vitest/config'

const slow = ['**/conformance.test.ts', 'test/e2e/**']
const everywhere = ['**/node_modules/**', '**/.ambient/**']

export default defineConfig({
  test: {
    // Two cores: more workers only make each test's own processes wait.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...everywhere, ...slow, 'workflows/**'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: { name: 'workflow', include: ['workflows/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 120_000 },
      },
      {
        test: {
          name: 'conformance',
          include: ['**/conformance.test.ts'],
          exclude: everywhere,
          testTimeout: 120_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
