// Names of variables that people give to set-up commands and agents.
import { z } from 'zod'

/** Names that set-up and agents rely on, so that a request cannot replace them. */
const reserved = /^(PATH|HOME|AMBIENT_.*|LD_.*|NODE_OPTIONS)$/

export const VariableName = z
  .string()
  .max(255)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be letters, digits and underscores, and not begin with a digit')
  .refine((name) => !reserved.test(name), { error: 'is a reserved name' })
