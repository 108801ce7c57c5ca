// Runs on the worker that holds the sandbox. From nothing to an open agent session, each step once.
import { openSession } from '../../agents/acp/session.ts'
import type { AcpAgent } from '../../agents/agent.ts'
import type { RunCredential } from '../../domain/host-api.ts'
import { commitIdentity } from '../../environments/git/repositories.ts'
import { takeRunBranches } from '../../environments/git/run-branches.ts'
import type { Sandbox } from '../../environments/host.ts'
import { writeHomeFiles } from '../../environments/inside-directory.ts'
import { claims } from '../../environments/run-directory.ts'
import type { SandboxOrigin } from '../../workflows/contract.ts'
import { bindCredential, unboundCredential } from './binding.ts'
import { noteStart } from './collect.ts'
import type { RunState } from './deps.ts'
import { environmentOf } from './environment.ts'
import { type Execution, workingDirectory } from './execution.ts'
import { checkMcpServers, placeMcpProgram, serverNames } from './mcp-servers.ts'
import { catchUp, findNews, startOver } from './prepared.ts'
import { restoreWorkspace } from './restore.ts'
import { rulesFor } from './rules.ts'
import { currentSandbox, toolkitOf, usableSandbox } from './sandbox.ts'
import { placeSecrets, refuseWithoutSecrets, variablesOf } from './secrets.ts'
import { runSetup, runStart } from './setup.ts'
import { placeSkills } from './skills.ts'
import { toolServers, toolVariables } from './tools.ts'
import { prepareWorkspace, takeUp } from './workspace.ts'

/**
 * A sandbox with a live agent in it and everything around it, whatever was there
 * before. Idempotent. `onNearly`: called when only the agent's own start is left,
 * or for a command the sandbox's.
 */
export async function prepare(
  execution: Execution,
  onNearly: (origin: SandboxOrigin) => void = () => {},
): Promise<SandboxOrigin> {
  const { deps, ref, order, agent, state } = execution
  refuseWithoutSecrets(order)
  await takeUp(execution)
  const held = await currentSandbox(execution)
  const isHeld = held !== null && (await held.isRunning())
  if (isHeld && (await isReady(execution, held))) return 'kept'

  // A sandbox that runs may have an agent that lives by the credential it was started with: another one would end that.
  const credential = isHeld || agent.protocol === 'command' ? null : unboundCredential(execution)
  credential?.catch(() => {}) // Heard where the agent is started.
  const { phase } = deps.metrics
  const originNow = () => (state.get().sessionId !== null || state.get().restoring ? 'restored' : 'fresh')
  const sandbox = await phase('workspace', () => workplace(execution, () => onNearly(originNow())))
  // Before it is restored: then it is not to be, any more.
  const origin = originNow()
  await placeSecrets(execution, sandbox)
  await phase('setup', () => runSetup(execution, sandbox))
  await restoreWorkspace(execution, sandbox)
  await takeOwnBranches(execution, sandbox)
  if (environmentOf(execution).startSteps.length > 0) await phase('setup', () => runStart(execution, sandbox))
  if (order.skills.length > 0) await placeSkills(execution, sandbox)
  // Opening a session changes nothing in the workspace, so both can go on at once.
  const [noted, opened] = await Promise.allSettled([
    noteStart(execution, sandbox),
    agent.protocol === 'acp'
      ? phase('agent_start', () => startAgent(execution, agent, sandbox, credential, () => onNearly(origin)))
      : {},
  ])
  // Only when both are over: neither is to go on beside the next attempt.
  if (noted.status === 'rejected') throw noted.reason
  if (opened.status === 'rejected') throw opened.reason
  await state.set({ ...opened.value, readyIn: sandbox.generation })
  deps.log.info({ run: ref.runId, execution: ref.execution, agent: agent.name }, 'the sandbox is ready')
  return origin
}

/** A clone has them from the start; what was prepared, or comes from another run, does not. */
async function takeOwnBranches({ deps, ref, order, state, stop }: Execution, sandbox: Sandbox): Promise<void> {
  if (state.get().prepared?.kind !== 'done' && order.forked_from === null) return
  await takeRunBranches({
    sandbox,
    paths: state.paths,
    workspace: deps.host.paths(ref.runId, null).workspace,
    signal: stop,
    repositories: order.environment.repos,
  })
}

/** Files and a sandbox over them: from a prepared environment where there is one, brought to the commits of today. */
async function workplace(execution: Execution, onlySandboxIsLeft: () => void): Promise<Sandbox> {
  await prepareWorkspace(execution)
  const lookForNews = async () => {
    const goesOn = await findNews(execution)
    if (goesOn && needsSandboxAlone(execution)) onlySandboxIsLeft()
    return goesOn
  }
  // What is new is asked of other machines, which takes about as long as making a sandbox.
  const [opened, news] = await Promise.allSettled([usableSandbox(execution), lookForNews()])
  if (news.status === 'rejected') throw news.reason
  if (opened.status === 'rejected') throw opened.reason
  if (news.value && (await catchUp(execution, opened.value))) return opened.value
  await startOver(execution)
  await prepareWorkspace(execution)
  return usableSandbox(execution)
}

/** Whether a command can be run as soon as there is a sandbox: nothing is to be done in it before that. */
function needsSandboxAlone(execution: Execution): boolean {
  const { agent, order, state } = execution
  const { setupDone, restoring, prepared } = state.get()
  const isWhole = setupDone && !restoring && prepared?.kind !== 'behind'
  const isBare = order.skills.length === 0 && environmentOf(execution).startSteps.length === 0
  return agent.protocol === 'command' && isWhole && isBare
}

/**
 * A sandbox that was opened to collect the work product runs without an agent.
 * One whose worker died while it was made ready may have an agent that was never
 * told of its session, or no note of how the repositories were.
 */
export async function isReady({ agent, state }: Execution, sandbox: Sandbox): Promise<boolean> {
  const { readyIn, setupDone, sessionId } = state.get()
  if (readyIn !== null && readyIn !== sandbox.generation) return false
  if (agent.protocol === 'command') return setupDone
  return sessionId !== null && (await sandbox.agent()) !== null
}

/** Answers with what is to be remembered of the session. */
async function startAgent(
  execution: Execution,
  agent: AcpAgent,
  sandbox: Sandbox,
  credential: Promise<RunCredential> | null,
  isUp: () => void,
): Promise<Partial<RunState>> {
  const { deps, ref, order, policy, state, transcript, stop } = execution
  const toolkit = await toolkitOf(execution)
  const paths = deps.host.paths(ref.runId, toolkit)
  const cwd = workingDirectory(paths.workspace, order)
  let journal = await sandbox.agent()
  let toolToken: string | null = null
  const isNew = journal === null
  if (journal === null) {
    const { token, tool_token } = await (credential ?? unboundCredential(execution))
    toolToken = tool_token
    const launch = agent.launch({
      home: paths.home,
      workspace: cwd,
      toolkit: paths.toolkit,
      node: paths.node,
      gatewayUrl: `${sandbox.gateway ?? deps.gatewayUrl}/${agent.provider}`,
      gatewayToken: token,
      model: order.model,
      reasoningLevel: order.reasoning_level,
      policy,
      rules: rulesFor(order),
      mcpServers: await serverNames(execution),
      isolated: deps.host.kind === 'docker',
      runsAsRoot: sandbox.owner.uid === 0,
    })
    await writeHomeFiles(state.paths, launch.files, sandbox.owner)
    await placeMcpProgram(execution, sandbox)
    const env = {
      ...commitIdentity(order.commit_identity),
      ...variablesOf(execution),
      ...launch.env,
      // Others are told in the session: what is in their environment, some of them write to files.
      ...(agent.quirks.toolTokenByName ? toolVariables(execution, sandbox, toolToken) : {}),
    }
    journal = await sandbox.startAgent({ command: launch.command, env, cwd })
  }
  // Agents call no model before they have a prompt, and this takes less than their start. Repeated for one that is
  // there: whoever started it may have died before that.
  const bound = bindCredential(execution, sandbox)
  bound.catch(() => {}) // Heard below.
  isUp()
  const { sessionId: former, sessionIn, home } = state.get()
  if (former !== null && sessionIn === sandbox.generation) {
    await bound
    return {}
  }
  // Agents note where they work. Where the other kind of host was, that is another path.
  const hasMoved = home !== null && home !== paths.home
  const started = tellSlowStart(execution)
  const checked = checkMcpServers(execution, sandbox, toolToken, stop)
  checked.catch(() => {}) // Heard once the session is open.
  const opened = await openSession({
    journal,
    claims: claims(state.paths),
    cwd,
    resumeSessionId: hasMoved ? null : former,
    quirks: agent.quirks,
    policy,
    mcpServers: toolServers(execution, agent, sandbox, toolToken, () => checked),
    storedLine: isNew ? 0 : await transcript.storedLine(journal.name),
    record: transcript.record,
    signal: stop,
  }).finally(() => void started())
  await started()
  await checked
  await bound
  // Told before it is noted: what comes after the note is not done again.
  if (former !== null && !opened.resumed) {
    await transcript.notes(`session-${ref.execution}`).add('warning', {
      code: 'session_not_resumed',
      message: 'The agent could not open its former session: it knows the workspace, but not what was said before.',
    })
  }
  const { sessionId, takesImages } = opened
  return { sessionId, takesImages, sessionIn: sandbox.generation, home: paths.home }
}

/** Most agents are there within this time; of a longer silence people should know what it is. In milliseconds. */
const SLOW_START_MS = 3_000

/** Says in the transcript that the agent takes its time to start, when it does. Returns what ends the watch. */
function tellSlowStart({ ref, agent, transcript }: Execution): () => Promise<void> {
  let told = Promise.resolve()
  const timer = setTimeout(() => {
    const text = `${agent.title} is starting. Its first start on a machine may take half a minute.`
    told = transcript.notes(`start-${ref.execution}`).add('setup', { step: 'start', stream: 'stdout', text })
    told.catch(() => {}) // Heard once the session is open.
  }, SLOW_START_MS)
  return () => {
    clearTimeout(timer)
    return told
  }
}
