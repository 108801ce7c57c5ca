// Scores of runs: what scorers make of them.
import { z } from 'zod'

const SCORES = 50

export const Score = z
  .object({
    scorer: z
      .string()
      .regex(/^[\w.:/-]{1,100}$/, 'must be 1 to 100 letters, digits, dots, dashes, colons, slashes or underscores')
      .describe('Who scores, by name. A run has one score of each: a later one takes the place of the one before.'),
    value: z.number().describe('What it means is the scorer’s own affair.'),
    passed: z.boolean().nullish(),
    explanation: z.string().max(10_000).nullish(),
    metadata: z.record(z.string().max(200), z.unknown()).nullish(),
  })
  .meta({ id: 'Score' })
export type Score = z.infer<typeof Score>

/** Body of `POST /agent/runs/{id}/scores`. Each score is checked for itself. */
export const PostScores = z
  .object({ scores: z.array(z.unknown()).min(1).max(SCORES).describe('Each a Score.') })
  .meta({ id: 'PostScores' })

/** A score as it is shown with its run. */
export const ScoreItem = z
  .object({
    scorer: z.string(),
    value: z.number(),
    passed: z.boolean().nullable(),
    explanation: z.string().nullable(),
    metadata: z.record(z.string(), z.unknown()),
    scored_at: z.iso.datetime(),
  })
  .meta({ id: 'ScoreItem' })
export type ScoreItem = z.infer<typeof ScoreItem>

/** 200 where all are stored, 206 where only some are. */
export const ScoresResponse = z
  .object({
    run_id: z.uuid(),
    scores: z.array(ScoreItem).describe('Those that are stored now.'),
    errors: z
      .array(z.object({ index: z.number().int().describe('Place in the request, from 0.'), message: z.string() }))
      .describe('Those that are not, and why.'),
  })
  .meta({ id: 'ScoresResponse' })
export type ScoresResponse = z.infer<typeof ScoresResponse>
