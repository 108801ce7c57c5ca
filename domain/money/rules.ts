// What holds for credits and budgets, as the settings of this server have it.

export interface MoneyRules {
  /** A whole number: as many millionths of a credit as of a dollar. */
  creditsPerDollar: number
  /** Of months. */
  timeZone: string
  /** Null: credits are counted and stop nothing. */
  enforced: { microCreditsToStart: number } | null
  /** In millionths of a dollar, for an hour. */
  compute: { cpuHour: number; gibHour: number }
  /** Of sandboxes whose host does not say. */
  usualSize: { cpus: number; memoryMb: number }
  /** For tests: the time that it is. Absent: the database's clock. */
  now?: Date
}
