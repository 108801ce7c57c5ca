// Ports of this machine.
import { createServer } from 'node:net'

/** A free port of 127.0.0.1. It may be taken by someone else a moment later. */
export const freePort = (): Promise<number> => bind(0)

/** @throws an error that says how to choose another port, when this one is in use. */
export async function requireFreePort(port: number, what: string, setting: string): Promise<void> {
  try {
    await bind(port)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') {
      throw new Error(`Port ${port} of 127.0.0.1, meant for ${what}, is in use. Set ${setting} to a free one.`, {
        cause: error,
      })
    }
    if (code === 'EACCES') {
      throw new Error(`Port ${port}, meant for ${what}, may not be used by this user. Set ${setting} above 1023.`, {
        cause: error,
      })
    }
    throw error
  }
}

function bind(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })
}
