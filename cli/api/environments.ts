// Stored environments and their builds, as the command line asks for them.
import type { BuildItem, BuildLogLine, BuildState, EnvironmentItem } from '../../domain/environment.ts'
import type { Requests } from './requests.ts'

export interface BuildLogPage {
  lines: BuildLogLine[]
  page_info: { has_next_page: boolean; next_cursor: string; state: BuildState; is_over: boolean }
}

export interface EnvironmentsApi {
  list(): Promise<EnvironmentItem[]>
  get(uid: string): Promise<EnvironmentItem>
  create(config: unknown): Promise<EnvironmentItem>
  /** Everything: what the config does not name is gone. */
  replace(uid: string, config: unknown): Promise<EnvironmentItem>
  remove(uid: string): Promise<void>
  /** Those that it began, and those that went on already. */
  build(uid: string, body: { force?: boolean; worker_id?: string; reason?: string }): Promise<BuildItem[]>
  /** The newest first. */
  builds(uid: string, limit: number): Promise<BuildItem[]>
  getBuild(uid: string, buildId: string): Promise<BuildItem>
  cancelBuild(uid: string, buildId: string): Promise<BuildItem>
  log(uid: string, buildId: string, after: string): Promise<BuildLogPage>
}

export function createEnvironmentsApi(base: string, { steady, post, put, remove, json }: Requests): EnvironmentsApi {
  return {
    list: async () => (await json<{ environments: EnvironmentItem[] }>(steady(`${base}?sort_by=name`))).environments,
    get: (uid) => json(steady(`${base}/${uid}`)),
    create: (config) => json(post(base, config)),
    replace: (uid, config) => put(`${base}/${uid}`, config),
    remove: (uid) => remove(`${base}/${uid}`),
    build: async (uid, body) => (await json<{ builds: BuildItem[] }>(post(`${base}/${uid}/builds`, body))).builds,
    builds: async (uid, limit) =>
      (await json<{ builds: BuildItem[] }>(steady(`${base}/${uid}/builds?limit=${limit}`))).builds,
    getBuild: (uid, buildId) => json(steady(`${base}/${uid}/builds/${buildId}`)),
    cancelBuild: (uid, buildId) => json(post(`${base}/${uid}/builds/${buildId}/cancel`)),
    log: (uid, buildId, after) => json(steady(`${base}/${uid}/builds/${buildId}/log?after=${after}&limit=1000`)),
  }
}
