// What a writer has promised to do to an agent, kept beside the sandbox so that a successor knows of it.

/**
 * Lasting notes of one run on its host. A claim is made before the side effect
 * and settled after it; both survive the process that made them.
 */
export interface Claims {
  /** Creates the claim, or returns the one that is there. Atomic: of two callers one gets `isNew`. */
  make(id: string, note: ClaimNote): Promise<{ isNew: boolean; settled: boolean; note: ClaimNote }>
  /** The effect has happened. Idempotent. */
  settle(id: string): Promise<void>
}

export interface ClaimNote {
  /** The journal's line after which the effect of the claim can be seen. */
  afterLine: number
}
