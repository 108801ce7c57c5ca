const UNIQUE_VIOLATION = '23505'

/** Whether a row was not written because another has what is to be had once. */
export const isTaken = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === UNIQUE_VIOLATION
