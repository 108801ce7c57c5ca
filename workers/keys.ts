// Keys and names that are made once and kept in the data directory.
import { randomBytes, randomUUID } from 'node:crypto'
import { type Config, dataPaths } from '../config.ts'
import { keep } from '../secrets/vault/keep.ts'

/** The administrator's API key: the setting, or the one in the data directory, made when it is missing. */
export const adminKey = async (config: Config): Promise<string> =>
  config.AMBIENT_ADMIN_KEY ??
  (await keep(dataPaths(config).adminKey, () => `wk-${randomBytes(32).toString('base64url')}`))

/** The key by which hosts speak to the server. */
export const workerKey = async (config: Config): Promise<string> =>
  config.AMBIENT_WORKER_KEY ??
  (await keep(dataPaths(config).workerKey, () => `ww-${randomBytes(32).toString('base64url')}`))

/** What links that need no other key are signed with. */
export const linkKey = async (config: Config): Promise<string> =>
  config.AMBIENT_LINK_KEY ?? (await keep(dataPaths(config).linkKey, () => randomBytes(32).toString('base64url')))

/** The lasting name of this machine as a host: a restarted host finds its queue and its sandboxes by it. */
export const hostId = async (config: Config): Promise<string> =>
  config.AMBIENT_HOST_ID ?? (await keep(dataPaths(config).hostId, randomUUID))

/** What proves that this machine is the host of its name; known to nobody but the server, as a hash. */
export const hostSecret = (config: Config): Promise<string> =>
  keep(dataPaths(config).hostSecret, () => randomBytes(32).toString('base64url'))
