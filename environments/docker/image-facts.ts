// What an image says of itself: its variables, and who a user of it is.
import { randomUUID } from 'node:crypto'
import type Docker from 'dockerode'
import { RunFailureError } from '../../domain/failure.ts'
import type { Owner } from '../run-directory.ts'
import { labels, NAME_START } from './container.ts'
import { ask } from './daemon.ts'
import { readPasswd } from './image.ts'

/** The variables that a program in a container of the image has. */
export async function imageVariables(docker: Docker, image: string): Promise<Record<string, string>> {
  const { Config } = await ask('workspace', () => docker.getImage(image).inspect())
  return Object.fromEntries(
    (Config.Env ?? []).map((variable) => {
      const equals = variable.indexOf('=')
      return [variable.slice(0, equals), variable.slice(equals + 1)]
    }),
  )
}

/**
 * Looks a user up in the image, by name or number, as `docker run --user` does.
 * A number that the image does not know is a user of its own.
 * @throws {RunFailureError} devcontainer_invalid for a name that it does not know
 */
export async function imageUser(
  { docker, runsDirectory }: { docker: Docker; runsDirectory: string },
  { runId, image, name }: { runId: string; image: string; name: string },
): Promise<Owner> {
  const passwd = await passwdOf(docker, { runId, image, runsDirectory })
  const users = passwd.split('\n').map((line) => line.split(':'))
  const found = users.find(([user]) => user === name) ?? users.find(([, , uid]) => uid === name)
  const owner = { uid: Number(found?.[2] ?? name), gid: Number(found?.[3] ?? name) }
  if (isId(owner.uid) && isId(owner.gid)) return owner
  const names = users.map(([user]) => user).filter((user) => user)
  throw new RunFailureError({
    code: 'devcontainer_invalid',
    phase: 'workspace',
    message: `The image ${image} has no user ${JSON.stringify(name)}, which devcontainer.json names.`,
    logTail: names.length === 0 ? undefined : `It has: ${names.slice(0, 50).join(', ')}`,
    nextStep: 'Mend remoteUser of devcontainer.json, or add the user to the image.',
  })
}

const isId = (id: number) => Number.isInteger(id) && id >= 0 && id < 2 ** 31

/** Read from a container that never runs, and goes with the others of the run where this process dies before it does. */
async function passwdOf(
  docker: Docker,
  { runId, image, runsDirectory }: { runId: string; image: string; runsDirectory: string },
): Promise<string> {
  const container = await ask('workspace', () =>
    docker.createContainer({
      name: `${NAME_START}${runId}-user-${randomUUID()}`,
      Image: image,
      Labels: { [labels.run]: runId, [labels.directory]: runsDirectory },
      Entrypoint: ['/bin/false'],
      Cmd: [],
    }),
  )
  try {
    return (await readPasswd(container)) ?? ''
  } finally {
    await ask('workspace', () => container.remove({ force: true, v: true }))
  }
}
