// The forges that there are. A new one is a file beside these and a line here.
import type { ForgeName } from '../domain/git/forge-name.ts'
import type { Forge } from './forge.ts'
import { github } from './github.ts'
import { gitlab } from './gitlab.ts'

export const forges = { github, gitlab } as const satisfies Record<ForgeName, Forge>

export type { ForgeName } from '../domain/git/forge-name.ts'
