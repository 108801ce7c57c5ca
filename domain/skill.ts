// Skills: what Oz lists as agents.
import { z } from 'zod'

/** `GET /agent` */
export const SkillQuery = z.object({
  repo: z
    .string()
    .regex(/^[\w.-]+\/[\w.-]+$/)
    .optional()
    .describe('`owner/repo`'),
  refresh: z.boolean().optional(),
  sort_by: z.enum(['name', 'last_run']).optional(),
  include_malformed_skills: z.boolean().optional(),
})

export const SkillList = z
  .object({
    agents: z.array(
      z.object({
        name: z.string(),
        variants: z.array(
          z.object({
            id: z.string(),
            description: z.string(),
            base_prompt: z.string(),
            source: z.object({ owner: z.string(), name: z.string(), skill_path: z.string() }),
            environments: z.array(z.object({ uid: z.string(), name: z.string() })),
          }),
        ),
      }),
    ),
  })
  .meta({ id: 'SkillList' })
