// The page where people sign in, and what it says when they could not.
import { randomBytes } from 'node:crypto'
import type { Response } from 'express'

export interface SignInPage {
  /** Where the person goes when they are in: a path of this server. */
  returnTo: string
  /** The host of the provider; null where there is none. */
  provider: string | null
  problem?: string
  signedIn?: { name: string; csrfToken: string } | null
}

export function sendSignInPage(response: Response, status: number, page: SignInPage): void {
  sendPage(response, status, 'Sign in', [
    ...(page.problem === undefined ? [] : [`<p role="alert" class="problem">${escaped(page.problem)}</p>`]),
    ...(page.signedIn ? signedInPart(page.signedIn) : signInParts(page)),
  ])
}

/** A small page of the server's own, which runs no script and loads nothing. */
export function sendPage(response: Response, status: number, title: string, parts: readonly string[]): void {
  response.status(status).send(`${beginPage(response, title)}${parts.join('\n')}\n${PAGE_END}`)
}

export const PAGE_END = '</main>\n</body>\n</html>\n'

/** Sets the headers of such a page. Returns its beginning; what follows ends with {@link PAGE_END}. `wide`: for reading. */
export function beginPage(response: Response, title: string, { wide = false }: { wide?: boolean } = {}): string {
  const nonce = randomBytes(16).toString('base64')
  response.set({
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    'x-content-type-options': 'nosniff',
    // Not less: a form's request tells its origin only so.
    'referrer-policy': 'same-origin',
    'cache-control': 'no-store',
  })
  response.type('html')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)} · Ambient</title>
<style nonce="${nonce}">${STYLE}</style>
</head>
<body>
<main${wide ? ' class="wide"' : ''}>
<h1>Ambient</h1>
`
}

function signInParts({ returnTo, provider }: SignInPage): string[] {
  const target = escaped(returnTo)
  return [
    ...(provider === null
      ? []
      : [
          `<p><a class="button" href="/auth/login?with=oidc&amp;return_to=${encodeURIComponent(returnTo)}">Sign in with ${escaped(provider)}</a></p>`,
          '<p class="or">or with a key</p>',
        ]),
    `<form method="post" action="/auth/login">
<input type="hidden" name="return_to" value="${target}">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="off" spellcheck="false" required autofocus>
<button>Sign in</button>
</form>`,
  ]
}

const signedInPart = ({ name, csrfToken }: NonNullable<SignInPage['signedIn']>): string[] => [
  `<p>You are signed in as <b>${escaped(name)}</b>.</p>`,
  `<form method="post" action="/auth/logout">
<input type="hidden" name="csrf_token" value="${escaped(csrfToken)}">
<button>Sign out</button>
<button name="everywhere" value="true">Sign out everywhere</button>
</form>`,
]

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

export const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? '')

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; }
main { width: min(22rem, calc(100vw - 2rem)); }
main.wide { width: min(48rem, calc(100vw - 2rem)); padding: 2rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: .25rem 0; }
section { border-left: .2rem solid #8886; padding-left: .75rem; margin: 1rem 0; }
section.user { border-color: #2457d6; }
.tool { color: #888; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; }
form { display: grid; gap: .5rem; }
input, button, .button { font: inherit; padding: .6rem .8rem; border: 1px solid #8886; border-radius: .4rem; }
button, .button { background: #2457d6; border-color: #2457d6; color: #fff; text-align: center; text-decoration: none; cursor: pointer; }
.button { display: block; }
.or { text-align: center; color: #888; }
.problem { border-left: .25rem solid #c62828; padding-left: .75rem; }
`
