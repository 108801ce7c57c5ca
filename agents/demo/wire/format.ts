// What a wire format is.
import type { FormatName, ModelRequest } from './request.ts'
import type { ModelAnswer, ModelFailure, WholeAnswer } from './step.ts'

export interface WireFormat {
  readonly name: FormatName
  /** True when a POST to this path asks the model in this format. The path may have any prefix. */
  accepts(path: string): boolean
  /** @throws {MalformedRequest} */
  decode(path: string, body: unknown): ModelRequest
  /** The answer as server-sent events. */
  stream(request: ModelRequest, answer: ModelAnswer): AsyncIterable<string>
  /** The answer as one JSON body. */
  whole(request: ModelRequest, answer: WholeAnswer): unknown
  /** The body of an error. */
  failure(failure: ModelFailure): unknown
  /** Answers a question beside the conversation, such as the number of tokens; undefined when the path is none. */
  aside?(path: string, body: unknown): unknown
}
