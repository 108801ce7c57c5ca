// How a worker of workflows is set; the baseline of the throughput's measure is set alike.

export const workflowSettings = {
  // A dead worker's cached workflows are taken over after this long.
  stickyQueueScheduleToStartTimeout: '3s',
  maxConcurrentWorkflowTaskExecutions: 40,
  // Each takes about a megabyte; one that is not at hand is replayed, which its short history makes cheap.
  maxCachedWorkflows: 150,
} as const
