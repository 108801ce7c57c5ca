// Every route that there is, told in one place.
import { accounts, identities, shares } from './accounts.ts'
import { artifacts } from './artifacts.ts'
import { audit } from './audit.ts'
import { catalogue } from './catalogue.ts'
import { configuration } from './configuration.ts'
import { conversations } from './conversations.ts'
import type { Section } from './declaration.ts'
import { environments } from './environments.ts'
import { gitCredentials } from './git.ts'
import { mcpServers } from './mcp-servers.ts'
import { moneySection } from './money.ts'
import { outside } from './outside.ts'
import { runs } from './runs.ts'
import { schedules } from './schedules.ts'
import { secrets, vault } from './secrets.ts'
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
  mcpServers,
  gitCredentials,
  ...configuration,
  schedules,
  moneySection,
  secrets,
  workers,
  ...outside,
  server,
  shares,
  accounts,
  identities,
  signIn,
  audit,
  vault,
]
