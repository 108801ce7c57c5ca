// Models, what a team may call of them, and its own endpoints, as the command line asks for them.
import type { z } from 'zod'
import type { ModelList } from '../../domain/models/models.ts'
import type { ModelProviderConfig, ModelProviderItem } from '../../domain/models/provider.ts'
import type { ModelRules } from '../../domain/models/rules.ts'
import type { Requests } from './requests.ts'

type Body = z.input<typeof ModelProviderConfig>

export interface ModelsApi {
  list(): Promise<ModelList>
  rules(): Promise<ModelRules>
  setRules(rules: ModelRules): Promise<ModelRules>
  providers(): Promise<ModelProviderItem[]>
  createProvider(body: Body): Promise<ModelProviderItem>
  /** Key and headers stay where the body does not name them. */
  replaceProvider(uid: string, body: Body): Promise<ModelProviderItem>
  removeProvider(uid: string): Promise<void>
}

/** `base`: of the routes of agents. */
export function createModelsApi(base: string, { steady, post, put, remove, json }: Requests): ModelsApi {
  const at = (uid: string) => `${base}/providers/${encodeURIComponent(uid)}`
  return {
    list: () => json(steady(`${base}/models`)),
    rules: () => json(steady(`${base}/models/rules`)),
    setRules: (rules) => put(`${base}/models/rules`, rules),
    providers: async () => (await json<{ providers: ModelProviderItem[] }>(steady(`${base}/providers`))).providers,
    createProvider: (body) => json(post(`${base}/providers`, body)),
    replaceProvider: (uid, body) => put(at(uid), body),
    removeProvider: (uid) => remove(at(uid)),
  }
}
