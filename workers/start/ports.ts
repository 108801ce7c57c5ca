// Ports of this machine.
import { createServer } from 'node:net'

/** A free port of 127.0.0.1. It may be taken by someone else a moment later. */
export const freePort = (): Promise<number> => bind(0)

/** An address other than 127.0.0.1, and the setting that it comes from. */
export interface BindAddress {
  address: string
  setting: string
}

/**
 * @throws an error that says how to choose another port, when this one is in
 * use, or another address, when this machine does not have it.
 */
export async function requireFreePort(
  port: number,
  what: string,
  setting: string,
  at: BindAddress = { address: '127.0.0.1', setting: '' },
): Promise<void> {
  try {
    await bind(port, at.address)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') {
      throw new Error(`Port ${port} of ${at.address}, meant for ${what}, is in use. Set ${setting} to a free one.`, {
        cause: error,
      })
    }
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'EINVAL') {
      throw new Error(
        `${at.setting} names ${at.address}, which is no address of this machine, so ${what} cannot listen there. ` +
          `Set ${at.setting} to 127.0.0.1 (this machine alone), 0.0.0.0 (all its addresses) or one that it has.`,
        { cause: error },
      )
    }
    if (code === 'EACCES') {
      throw new Error(`Port ${port}, meant for ${what}, may not be used by this user. Set ${setting} above 1023.`, {
        cause: error,
      })
    }
    throw error
  }
}

function bind(port: number, address = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, address, () => {
      const bound = server.address()
      server.close(() => (bound && typeof bound === 'object' ? resolve(bound.port) : reject(new Error('no port'))))
    })
  })
}
