// What an agent is to Ambient: how it is installed, started, pointed at a model, and what is peculiar about it.
import type { AgentName, PermissionPolicy, ProviderName } from '../domain/harness.ts'

export interface LaunchContext {
  /** Paths as seen inside the sandbox. */
  home: string
  workspace: string
  toolkit: string
  node: string
  /** Base URL of this agent's provider at the gateway, without a trailing slash; and the credential that is good for this run alone. */
  gatewayUrl: string
  gatewayToken: string
  /** Null: the agent's own default for its provider. */
  model: string | null
  reasoningLevel: string | null
  policy: PermissionPolicy
  /** What its team has it told, beside what the repositories say themselves; null: nothing. */
  rules: string | null
  /** Names of the servers of tools that it is told of in its session: others, that a repository names, it is not to start by itself. */
  mcpServers: readonly string[]
  /** True in a container: the sandbox is the boundary, the agent needs none of its own. */
  isolated: boolean
  runsAsRoot: boolean
}

export interface Launch {
  command: string[]
  env: Record<string, string>
  /** Written into the agent's home before it starts. Must hold no secret. */
  files: { path: string; content: string }[]
}

/** What the driver of the Agent Client Protocol must do differently for an agent. Every field is a measured peculiarity. */
export interface AcpQuirks {
  /** How a session of a former process is opened again. */
  resume: 'load' | 'none'
  /** The session's history is told again not before but after the answer to `session/load`. */
  historyAfterLoad?: boolean
  /** After a cancelled turn its shell commands may run on; closing the session (and loading it again) ends them. */
  closeSessionAfterCancel?: boolean
  /** What it is told of its tools' server it passes on where others could read it; it puts a variable's value in by itself, where `${NAME}` stands. */
  toolTokenByName?: boolean
  /** Sent as `_meta` wherever a session is opened. */
  sessionMeta?: Readonly<Record<string, unknown>>
  /** Set with `session/set_mode` once the session is open, by policy. */
  sessionMode?: Partial<Record<PermissionPolicy, string>>
  /** Recognises a failure of the model that the agent reports as a normal end of the turn. Returns what to tell the person. */
  disguisedFailure?(turn: { stopReason: string; text: string; usage: unknown }): string | null
}

/** Where in its home an agent keeps what it needs to load a session again. Never a credential. */
export interface SessionFiles {
  /** Files or directories relative to the home, by where the agent works. A path that is not there counts as empty. */
  paths(cwd: string): readonly string[]
  /** Text, which can be changed to name another directory when the run moves to one; a database cannot. */
  isText: boolean
}

/** Where an agent looks for skills by itself, and tells its model their names and descriptions. */
export interface SkillFolders {
  /** Relative to the repository that it works in. */
  inRepository: readonly string[]
  /** Relative to its home. */
  inHome: string
}

export interface AcpAgent {
  readonly protocol: 'acp'
  readonly name: Exclude<AgentName, 'command'>
  readonly title: string
  readonly provider: ProviderName
  /** npm packages at exact versions. */
  readonly packages: Readonly<Record<string, string>>
  launch(context: LaunchContext): Launch
  readonly sessions: SessionFiles
  readonly skills: SkillFolders
  readonly quirks: AcpQuirks
}

/** A program that takes a prompt and prints lines: no protocol, no session. */
export interface CommandAgent {
  readonly protocol: 'command'
  readonly name: 'command'
  readonly title: string
}

export type Agent = AcpAgent | CommandAgent
