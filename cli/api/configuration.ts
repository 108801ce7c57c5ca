// Agent profiles, rules and saved prompts, as the command line asks for them.
import type { AgentProfile } from '../../domain/configuration/profile.ts'
import type { Rule } from '../../domain/configuration/rule.ts'
import type { SavedPrompt } from '../../domain/configuration/saved-prompt.ts'
import type { ItemVersions } from '../../domain/configuration/shared-item.ts'
import type { Requests } from './requests.ts'

export interface SharedItemsApi<Item> {
  /** All of them, page by page. */
  list(): Promise<Item[]>
  get(uid: string, version?: number): Promise<Item>
  create(body: unknown): Promise<Item>
  /** Everything: what the body does not name is gone. */
  replace(uid: string, body: unknown): Promise<Item>
  remove(uid: string): Promise<void>
  /** The newest first. */
  versions(uid: string): Promise<ItemVersions['versions']>
}

export interface ConfigurationApi {
  profiles: SharedItemsApi<AgentProfile>
  rules: SharedItemsApi<Rule>
  prompts: SharedItemsApi<SavedPrompt>
}

const PAGE = 500

export function createConfigurationApi(base: string, { steady, post, put, remove, json }: Requests): ConfigurationApi {
  async function all<T>(url: string, field: string): Promise<T[]> {
    const found: T[] = []
    let cursor: string | undefined
    do {
      const from = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const page = await json<Record<string, unknown>>(steady(`${url}?limit=${PAGE}${from}`))
      found.push(...(page[field] as T[]))
      cursor = (page.page_info as { next_cursor?: string }).next_cursor
    } while (cursor !== undefined)
    return found
  }

  const items = <Item>(path: string): SharedItemsApi<Item> => ({
    list: () => all(`${base}/${path}`, path),
    get: (uid, version) =>
      json(steady(`${base}/${path}/${encodeURIComponent(uid)}${version === undefined ? '' : `?version=${version}`}`)),
    create: (body) => json(post(`${base}/${path}`, body)),
    replace: (uid, body) => put(`${base}/${path}/${uid}`, body),
    remove: (uid) => remove(`${base}/${path}/${uid}`),
    versions: (uid) => all(`${base}/${path}/${uid}/versions`, 'versions'),
  })
  return { profiles: items('profiles'), rules: items('rules'), prompts: items('prompts') }
}
