// What git says of a repository that it cannot get at, as a person can do something about it.
import { type FailureCode, logTail, RunFailureError } from '../../domain/failure.ts'
import { isPassingTrouble } from '../passing-trouble.ts'
import type { GitAccess } from './access.ts'
import type { GitResult } from './git.ts'

interface Trouble {
  said: RegExp
  message: string
  nextStep: string
}

/** In the order in which they are looked for: ssh's words for a key that has changed hold those of a refusal too. */
const troubles = ({ knownHosts }: GitAccess): Trouble[] => [
  {
    said: /remote host identification has changed/i,
    message: 'its server shows another ssh key than the one that is known for it',
    nextStep: `Find out whether its key was changed on purpose. Then have the old one removed from the host's list of known ones: ${knownHosts}, or known_hosts of the host's user.`,
  },
  {
    said: /host key verification failed|no \S+ host key is known/i,
    message: 'the ssh key of its server is not known to the host',
    nextStep: `Have the key of the server added to ${knownHosts} on the host: ssh-keyscan prints it, to be compared with what the server's operator publishes.`,
  },
  {
    said: /unprotected private key file|load key|identity file .* not accessible/i,
    message: "the host's ssh key cannot be used",
    nextStep:
      "Have the file of AMBIENT_GIT_SSH_KEY put right on the host: a private key without a passphrase, readable for the host's user alone (chmod 600).",
  },
  {
    said: /authentication failed|could not read (username|password)|permission denied|access denied|\b40[13]\b/i,
    message: 'access to it was denied',
    nextStep:
      'Give access to it: a git credential of your team (`ambient git-credentials create`), a token in the URL, a line for it in the AMBIENT_GIT_CREDENTIALS of the host, or for ssh the key of its AMBIENT_GIT_SSH_KEY.',
  },
  {
    said: /repository .*not found|does not appear to be a git repository|returned error: 404|(project|repository) .*(could not be found|does not exist)/i,
    message: 'it is not there, or the host may not see it',
    nextStep: 'Check the URL. Servers hide private repositories from those who may not see them: give access to it.',
  },
]

/** What git says at the limits of git.ts. */
const TOO_MUCH: Trouble[] = [
  {
    said: /file too large/i,
    message: 'it is larger than what a run may take of the disk of this host',
    nextStep: 'Have fewer commits cloned (`depth`), or raise AMBIENT_DISK_GB of the host.',
  },
  {
    said: /out of memory|cannot allocate memory/i,
    message: 'git would need more than half of the memory of this host for it',
    nextStep: 'Use a smaller repository, or a host with more memory.',
  },
]

export const isTooMuch = (said: string): boolean => TOO_MUCH.some((trouble) => trouble.said.test(said))

export const isDenied = (said: string, access: GitAccess): boolean =>
  troubles(access)
    .slice(0, -1)
    .some((trouble) => trouble.said.test(said))

/** `what` is the git command as a person would type it. */
export function unreachable(url: string, result: GitResult, access: GitAccess, what = 'clone'): RunFailureError {
  const isPassing = !isTooMuch(result.stderr) && !isDenied(result.stderr, access) && isPassingTrouble(result.stderr)
  const trouble = isPassing
    ? undefined
    : [...TOO_MUCH, ...troubles(access)].find(({ said }) => said.test(result.stderr))
  return failure(
    isPassing ? 'repository_unavailable' : 'repository_unreachable',
    `The repository ${url} could not be cloned${trouble ? `: ${trouble.message}` : ''}.`,
    {
      command: `git ${what} ${url}`,
      exitCode: result.code,
      logTail: logTail(result.stderr),
      nextStep: isPassing
        ? 'Try again when its server answers.'
        : (trouble?.nextStep ?? 'Check the URL, and that this host reaches it.'),
    },
  )
}

export function refNotFound(ref: string, url: string, refs: string, isShallow = false): RunFailureError {
  return failure('ref_not_found', `The repository ${url} has no branch, tag or commit ${ref}.`, {
    logTail: refs.trim() === '' ? undefined : logTail(`It has:\n${refs}`),
    nextStep: isShallow
      ? 'Check `ref`: with `depth`, a commit needs its whole name. Without `ref` the default branch is taken.'
      : 'Check `ref`; without it the default branch is taken.',
  })
}

export function failure(
  code: FailureCode,
  message: string,
  details: Omit<RunFailureError['failure'], 'code' | 'phase' | 'message'>,
): RunFailureError {
  return new RunFailureError({ code, phase: 'workspace', message, ...details })
}
