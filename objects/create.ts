// The object store that the settings name.
import { type Config, ConfigError, dataPaths } from '../config.ts'
import { createFileStore } from './files.ts'
import type { ObjectStore } from './object-store.ts'
import { createS3Store } from './s3.ts'

/** @throws {ConfigError} for a bucket without its key. */
export function createObjectStore(config: Config): ObjectStore {
  const { AMBIENT_S3_BUCKET: bucket, AMBIENT_S3_ACCESS_KEY_ID: id, AMBIENT_S3_SECRET_ACCESS_KEY: secret } = config
  if (bucket === undefined) return createFileStore(dataPaths(config).contents)
  if (id === undefined || secret === undefined)
    throw new ConfigError('AMBIENT_S3_BUCKET needs AMBIENT_S3_ACCESS_KEY_ID and AMBIENT_S3_SECRET_ACCESS_KEY.')
  return createS3Store({
    endpoint: config.AMBIENT_S3_ENDPOINT,
    region: config.AMBIENT_S3_REGION,
    prefix: config.AMBIENT_S3_PREFIX,
    bucket,
    accessKeyId: id,
    secretAccessKey: secret,
  })
}
