// What the broker refuses.

/** A request that is refused, in words that git shows to the person. */
export class GitRefusal extends Error {
  override readonly name = 'GitRefusal'
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}
