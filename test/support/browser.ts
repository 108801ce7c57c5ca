// As much of a browser as signing in takes: cookies of each origin, redirects, forms, and the Origin of a request.

export interface Page {
  status: number
  /** Where it is from, after all redirects. */
  url: URL
  headers: Headers
  text: string
}

export interface Browser {
  /** Opens an address, and goes where it leads. */
  open(url: string, options?: { headers?: Record<string, string>; follow?: boolean }): Promise<Page>
  /** A request of a page's script: of our own origin unless it says so. */
  send(
    method: string,
    url: string,
    options?: {
      body?: unknown
      form?: Record<string, string>
      headers?: Record<string, string>
      origin?: string | null
    },
  ): Promise<Page>
  /** What is kept of an origin. */
  cookies(origin: string): Map<string, string>
  /** The Set-Cookie lines that came, newest last. */
  readonly seen: string[]
}

/** `places`: where the servers really are that public addresses stand for. */
export function createBrowser(places: Readonly<Record<string, string>>): Browser {
  const jars = new Map<string, Map<string, string>>()
  const seen: string[] = []

  const cookies = (origin: string) => {
    const jar = jars.get(origin) ?? new Map<string, string>()
    jars.set(origin, jar)
    return jar
  }

  async function request(url: URL, init: RequestInit): Promise<Response> {
    const jar = cookies(url.origin)
    const place = places[url.origin] ?? url.origin
    const headers = new Headers(init.headers)
    if (jar.size > 0) headers.set('cookie', [...jar].map(([name, value]) => `${name}=${value}`).join('; '))
    const response = await fetch(`${place}${url.pathname}${url.search}`, { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      seen.push(line)
      const [pair = ''] = line.split(';')
      const name = pair.slice(0, pair.indexOf('='))
      const value = pair.slice(name.length + 1)
      if (value === '' || /max-age=0\b/i.test(line) || /expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }

  async function pageOf(response: Response, url: URL): Promise<Page> {
    return { status: response.status, url, headers: response.headers, text: await response.text() }
  }

  return {
    cookies,
    seen,
    async open(start, { headers = {}, follow = true } = {}) {
      let url = new URL(start)
      for (let hops = 0; hops < 20; hops += 1) {
        const response = await request(url, { headers: { accept: 'text/html', ...headers } })
        const location = response.headers.get('location')
        if (!follow || location === null) return pageOf(response, url)
        await response.body?.cancel()
        url = new URL(location, url)
      }
      throw new Error(`${start} leads in circles`)
    },
    async send(method, to, { body, form, headers = {}, origin } = {}) {
      const url = new URL(to)
      const content =
        form !== undefined
          ? { body: new URLSearchParams(form), type: 'application/x-www-form-urlencoded' }
          : body !== undefined
            ? { body: JSON.stringify(body), type: 'application/json' }
            : null
      const from = origin === undefined ? url.origin : origin
      const response = await request(url, {
        method,
        ...(content && { body: content.body }),
        headers: {
          accept: form === undefined ? 'application/json' : 'text/html',
          ...(content && { 'content-type': content.type }),
          ...(from !== null && { origin: from }),
          ...headers,
        },
      })
      return pageOf(response, url)
    },
  }
}
