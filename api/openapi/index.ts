// Every route that there is, told in one place.
import { accounts, identities, shares } from './accounts.ts'
import { artifacts } from './artifacts.ts'
import { audit } from './audit.ts'
import { catalogue } from './catalogue.ts'
import { conversations } from './conversations.ts'
import type { Section } from './declaration.ts'
import { environments } from './environments.ts'
import { outside } from './outside.ts'
import { runs } from './runs.ts'
import { schedules } from './schedules.ts'
import { server } from './server.ts'
import { signIn } from './sign-in.ts'
import { transcript } from './transcript.ts'
import { workers } from './workers.ts'

export const sections: readonly Section[] = [
  runs,
  transcript,
  conversations,
  artifacts,
  catalogue,
  environments,
  schedules,
  workers,
  ...outside,
  server,
  shares,
  accounts,
  identities,
  signIn,
  audit,
]
