// How a setting says tokens of forges: AMBIENT_GITHUB_TOKEN, AMBIENT_GITLAB_TOKEN, and the files of the same.

/**
 * `token`, or `host=token`, or `https://host/path=token`; several of them
 * separated by commas or lines, of which those that begin with # are left out.
 * `server`: null stands for the forge's home.
 */
export function parseTokens(text: string): { server: string | null; token: string }[] {
  return text
    .split(/[,\n]/)
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '' && !entry.startsWith('#'))
    .map((entry) => {
      const [, scheme, host, token] = /^(https?:\/\/)?([\w.-]+(?::\d+)?(?:\/[\w./-]*)?)\s*=\s*(\S+)$/.exec(entry) ?? []
      if (host === undefined || token === undefined) return { server: null, token: entry }
      return { server: `${scheme ?? 'https://'}${host.replace(/\/+$/, '')}`, token }
    })
}
