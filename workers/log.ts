// The log of a long-lived process: one JSON object a line, on stdout.
import { type Logger, pino } from 'pino'
import type { Config } from '../config.ts'

export function createLog(config: Pick<Config, 'AMBIENT_LOG'>, part: string): Logger {
  return pino({
    level: config.AMBIENT_LOG,
    base: { part },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  })
}
