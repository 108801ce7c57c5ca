// What an agent is told beside a message, by the mode that the message was sent in. Any agent understands words.
import type { RunMode } from './run.ts'

export const modeInstructions: Readonly<Record<RunMode, string | null>> = {
  normal: null,
  plan: `Do not carry the following task out yet: plan it. Look into whatever you need to, and change nothing: edit no file, commit nothing, and run no command that changes anything. Then say the plan: what is to be done in which order, which files and parts it touches, how it is to be tested, what could go wrong, and which questions are open. Where you have a tool to report a plan as an artifact, report it with that as well.`,
  orchestrate: `Have the following task carried out by others, as far as it can be divided. Split it into parts that can be worked on without waiting for one another, begin a run for each with your tool for child runs, with a prompt that says all that it needs to know, and look at how they stand and what they bring. Work on what cannot be divided yourself, and put the results together at the end. Where you have no such tool, say so, and do the task yourself.`,
}
