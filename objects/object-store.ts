// Where the contents of artifacts and attachments are kept: by name, written once, never changed.
import type { Readable } from 'node:stream'

export interface ObjectStore {
  /** Writes a content whole or not at all. Safe to repeat. */
  put(name: string, content: Uint8Array): Promise<void>
  /** Null when there is none. */
  get(name: string): Promise<Readable | null>
  /** Nothing happens where there is none. */
  remove(name: string): Promise<void>
  /** Where anybody may fetch it for so long, without the server; null where the server has to hand it out. */
  link(name: string, served: ServedAs, seconds: number): Promise<string | null>
}

/** How a content is handed out, so that no browser ever runs it in somebody's name. */
export interface ServedAs {
  contentType: string
  disposition: string
}

/** The store does not answer, or refuses. */
export class ObjectStoreError extends Error {
  override readonly name = 'ObjectStoreError'
}
