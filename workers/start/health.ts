// Waiting until a run that is started would be carried out.
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { askJson } from './http-json.ts'

const Health = z.looseObject({ checks: z.record(z.string(), z.string()).optional() })

/** The server answers: its database is migrated. Says nothing of the other parts. */
export async function answers(url: string, signal: AbortSignal): Promise<void> {
  while ((await ask(url)) === null) await delay(50, undefined, { signal })
}

/** All is well. What is missing is said from time to time. */
export async function healthy(url: string, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  const started = Date.now()
  let next = 15_000
  while (true) {
    const health = await ask(url)
    if (health?.status === 200) return
    if (Date.now() - started > next) {
      const missing = Object.entries(health?.checks ?? { server: 'no answer' }).filter(([, check]) => check !== 'ok')
      say(`waiting: ${missing.map(([name, check]) => `${name}: ${check}`).join('; ')}`)
      next += 30_000
    }
    await delay(100, undefined, { signal })
  }
}

async function ask(url: string): Promise<{ status: number; checks: Record<string, string> } | null> {
  const answer = await askJson(`${url}/healthz`, 5_000)
  // Null: not listening yet, or just being started again.
  return answer && { status: answer.status, checks: Health.parse(answer.body).checks ?? {} }
}
