// The tools that every agent gets, as it is told of them.
import { z } from 'zod'
import { artifactTypes, FileName, webUrl } from './artifact.ts'
import { AgentName } from './harness.ts'
import { TITLE_CHARS } from './limits.ts'

/** Longest progress note, question, option and plan, in characters. */
const PROGRESS_CHARS = 4_000
const QUESTION_CHARS = 8_000
const OPTION_CHARS = 200
const PLAN_CHARS = 256 * 1024
export const OPTIONS = 12

const key = z
  .string()
  .min(1)
  .max(200)
  .optional()
  .describe(
    'Your own name for this call. A call with the same key is answered as the first one was, and done once. Without a key, equal calls for the same message of the user count as one.',
  )

const reported = artifactTypes.map((type) => type.toLowerCase()) as Lowercase<(typeof artifactTypes)[number]>[]

export const ReportArtifact = z.object({
  type: z.enum(reported),
  path: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe(
      'file, screenshot, plan: a file in your workspace. It is fetched when your turn ends, so leave it where it is.',
    ),
  content: z.string().max(PLAN_CHARS).optional().describe('file, plan: the text itself, instead of a path.'),
  content_base64: z.base64().optional().describe('file, screenshot: the bytes in base64, instead of a path.'),
  file_name: FileName.optional().describe('file: its name. Absent: that of the path.'),
  mime_type: z
    .string()
    .max(200)
    .regex(/^[\w.+-]+\/[\w.+-]+$/)
    .optional()
    .describe('Absent: by the name of the file.'),
  title: z.string().min(1).max(TITLE_CHARS).optional(),
  description: z.string().max(4_000).optional(),
  url: webUrl.optional().describe('pull_request, external_reference: where it is.'),
  branch: z.string().min(1).max(255).optional().describe('pull_request: the branch that it would merge.'),
  reference_type: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('external_reference: what it is, such as "issue" or "deployment".'),
  key,
})

export const PostProgress = z.object({
  message: z.string().trim().min(1).max(PROGRESS_CHARS).describe('What you have done, or are about to do.'),
  percent: z.number().min(0).max(100).optional().describe('How much of the whole is done.'),
  key,
})

export const StartChildRun = z.object({
  prompt: z
    .string()
    .trim()
    .min(1)
    .max(200_000)
    .describe('The task. The other agent sees nothing else of what you know.'),
  title: z.string().min(1).max(TITLE_CHARS).optional(),
  agent: AgentName.exclude(['command']).optional().describe('Absent: the same as you are.'),
  key,
})

export const GetChildRun = z.object({
  run_id: z.uuid().optional().describe('Absent: all runs that you have started.'),
})

export const AskPerson = z.object({
  question: z.string().trim().min(1).max(QUESTION_CHARS),
  options: z
    .array(z.string().trim().min(1).max(OPTION_CHARS))
    .max(OPTIONS)
    .optional()
    .describe('Answers to choose from. Absent: the person writes one.'),
  free_text: z.boolean().optional().describe('With options: whether the person may write another answer. Absent: yes.'),
  key,
})

export const tools = {
  report_artifact: {
    description:
      'Hand over a result to the user: a file or screenshot of your workspace, a plan (Markdown), a pull request that you have opened, or a reference to something elsewhere. What is only in the workspace, the user does not see.',
    input: ReportArtifact,
  },
  post_progress: {
    description: 'Tell the user in a sentence how far you are. They see it at once, beside what you say.',
    input: PostProgress,
  },
  start_child_run: {
    description:
      'Give a task to another agent, which works on its own, in a sandbox of its own, with the repositories as they are on their server. Returns at once with its run_id.',
    input: StartChildRun,
  },
  get_child_run: {
    description: 'How far the runs that you have started are, and what they have said at the end.',
    input: GetChildRun,
  },
  ask_person: {
    description:
      'Ask the user what you cannot find out or decide by yourself. After this call end your turn at once: the answer, however late, is the next message that you get.',
    input: AskPerson,
  },
} as const satisfies Record<string, { description: string; input: z.ZodObject }>

export type ToolName = keyof typeof tools

/** Those that do nothing in the world: no person is asked whether an agent may use them. */
export const tellingTools: readonly ToolName[] = ['report_artifact', 'post_progress', 'get_child_run', 'ask_person']

/** The name under which agents know the server of these tools. */
export const TOOLS_SERVER = 'ambient'
/** Where the gateway serves them. */
export const TOOLS_PATH = '/mcp'
/** Where the server does, for the gateway alone. */
export const TOOLS_API = '/internal/v1/tools'
/** By which the gateway shows that it has handed a call on: that it comes from its run's sandbox has been looked at. */
export const TOOLS_PASS_HEADER = 'x-ambient-tools-pass'

/** Largest call of a tool, in bytes: an artifact in base64, and what is said of it. */
export const toolRequestBytes = ({ AMBIENT_ARTIFACT_MB: mebibytes }: { AMBIENT_ARTIFACT_MB: number }): number =>
  Math.ceil(mebibytes * 1024 * 1024 * 1.4) + 1024 * 1024
