// The models of this installation: those that are known, and what a file says of them.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { Config } from '../../config.ts'
import { type CatalogueModel, knownModels, ModelsFile, withModels } from '../../domain/models/models.ts'

/** @throws {Error} that says what is wrong with the file. */
export function loadCatalogue({
  AMBIENT_MODELS_FILE: file,
}: Pick<Config, 'AMBIENT_MODELS_FILE'>): readonly CatalogueModel[] {
  if (file === undefined) return knownModels
  try {
    const parsed = ModelsFile.safeParse(JSON.parse(readFileSync(file, 'utf8')))
    if (!parsed.success) throw new Error(z.prettifyError(parsed.error))
    return withModels(knownModels, parsed.data)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`AMBIENT_MODELS_FILE (${file}) is no list of models: ${reason}`, { cause: error })
  }
}
