import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

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
  'environments/docker/spare-networks.test.ts',
  'activities/host/environment.test.ts',
  'activities/host/git-broker.test.ts',
  'activities/host/prepared.test.ts',
  'test/reaper.test.ts',
  'test/credential-binding.test.ts',
]
const everywhere = ['**/node_modules/**', '**/.ambient/**']

/** What is waited for comes when it comes: a busy machine is no failure. */
const patient = { expect: { poll: { timeout: 20_000 } } }

/** Files that take long come first: at the end, short ones fill what is left of the time of each worker. */
class ShortOnesLast extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ project }: TestSpecification) => ['e2e', 'conformance', 'workflow', 'unit'].indexOf(project.name)
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b))
  }
}

export default defineConfig({
  test: {
    // On two cores: one waits for something most of the time. With more, each test's own processes would wait.
    maxWorkers: 3,
    sequence: { sequencer: ShortOnesLast },
    globalSetup: 'test/support/shared-postgres.ts',
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
