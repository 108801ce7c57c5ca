// Which trouble on the network may be over a moment later: a server that is away, overloaded, or slow.

/**
 * As git, curl, ssh and the Docker daemon put it. Not that a name is unknown or
 * an access refused: those stay as they are until a person mends them.
 */
const PASSING = new RegExp(
  [
    // HTTP: git, its curl, and registries.
    'returned error: (408|429|5\\d\\d)',
    'HTTP (408|429|5\\d\\d)',
    'received unexpected HTTP status: (429|5\\d\\d)',
    'toomanyrequests',
    '\\b50[234] (bad gateway|service (temporarily )?unavailable|gateway time-?out)',
    // The connection.
    'connection (refused|reset|timed out|closed by remote host)',
    'could ?n.t connect to server',
    'could not connect to server',
    '(operation|resolving|connection|handshake) (timed out|timeout|too slow)',
    'timeout was reached',
    'i/o timeout',
    'context deadline exceeded',
    'network is unreachable',
    'no route to host',
    'temporary failure in name resolution',
    // In the middle of it.
    'empty reply from server',
    'recv failure',
    'early eof',
    'unexpected eof',
    'unexpected disconnect',
    'hung up unexpectedly',
    'stream .* was not closed cleanly',
    'SSL_ERROR_SYSCALL',
    'TLS connection was non-properly terminated',
  ].join('|'),
  'i',
)

export const isPassingTrouble = (said: string): boolean => PASSING.test(said)
