// What runs can be found by in Temporal's own tools. Ids and names of things; nothing that a person wrote. Imports nothing that does I/O.
import { defineSearchAttributeKey, type SearchAttributePair } from '@temporalio/common'
import type { RunState } from '../domain/state.ts'

export const stateKey = defineSearchAttributeKey('AmbientState', 'KEYWORD')
export const agentKey = defineSearchAttributeKey('AmbientAgent', 'KEYWORD')
const source = defineSearchAttributeKey('AmbientSource', 'KEYWORD')
const pool = defineSearchAttributeKey('AmbientPool', 'KEYWORD')
const team = defineSearchAttributeKey('AmbientTeam', 'KEYWORD')
const parent = defineSearchAttributeKey('AmbientParent', 'KEYWORD')
const environment = defineSearchAttributeKey('AmbientEnvironment', 'KEYWORD')
const priority = defineSearchAttributeKey('AmbientPriority', 'INT')

/** Each with its type, as a Temporal server has to know it before a run can have it. */
export const searchAttributes = [stateKey, agentKey, source, pool, team, parent, environment, priority] as const

/** What a run is known by from its start on. */
export interface RunLabels {
  agent: string
  source: string
  pool: string
  team: string
  priority: number
  /** The run that started it; null when none did. */
  parentRunId: string | null
  /** The stored environment that it works in; null where it named none. */
  environmentId: string | null
}

/** PENDING: one that has to wait in line says so by itself. */
export const initialAttributes = (labels: RunLabels): SearchAttributePair[] => [
  ...stateAttribute('PENDING'),
  { key: agentKey, value: labels.agent },
  { key: source, value: labels.source },
  { key: pool, value: labels.pool },
  { key: team, value: labels.team },
  { key: priority, value: labels.priority },
  ...(labels.parentRunId === null ? [] : [{ key: parent, value: labels.parentRunId }]),
  ...(labels.environmentId === null ? [] : [{ key: environment, value: labels.environmentId }]),
]

/** A build's. It has no state among these: the states of runs mean other things. */
export const buildAttributes = (labels: { environmentId: string; team: string }): SearchAttributePair[] => [
  { key: environment, value: labels.environmentId },
  { key: team, value: labels.team },
]

/** Of the slots of a schedule. */
export const scheduleAttributes = (labels: { team: string }): SearchAttributePair[] => [
  { key: team, value: labels.team },
]

export const stateAttribute = (value: RunState): SearchAttributePair[] => [{ key: stateKey, value }]
