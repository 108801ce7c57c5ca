// One look at the repositories of an environment for skills, on one host. Workflow sandbox: no Node imports, no I/O.
import { CancellationScope, proxyActivities, proxyLocalActivities, setCurrentDetails } from '@temporalio/workflow'
import { hostQueue, type SkillActivities, type SkillReadingInput, type SkillRecords } from './contract.ts'
import { failureOfError, isHostAway } from './ending.ts'
import { orchestratorOptions, skillOptions } from './options.ts'

const { recordReadingFailure } = proxyLocalActivities<SkillRecords>(orchestratorOptions)

/** The host ends the reading by what it hands over; where it does not, this does. */
export async function skillReading({ readingId, hostId, hostLostSeconds }: SkillReadingInput): Promise<void> {
  setCurrentDetails(`Reading on ${hostId}`)
  const host = proxyActivities<SkillActivities>({
    ...skillOptions(hostLostSeconds),
    taskQueue: hostQueue(hostId),
    summary: 'read skills',
  })
  try {
    await host.readSkills({ readingId })
  } catch (error) {
    const failure = isHostAway(error)
      ? 'The host that was to read them does not answer.'
      : failureOfError(error, 'workspace', 'Its details are in the Temporal history of the reading.').message
    await CancellationScope.nonCancellable(() => recordReadingFailure({ readingId, failure }))
  }
}
