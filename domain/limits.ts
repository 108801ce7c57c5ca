// The limits of a request. Each is refused with a message that names it; none cuts silently.

/** Longest prompt or follow-up, in bytes of UTF-8. */
export const PROMPT_BYTES = 2 * 1024 * 1024
/** Largest request body, in bytes: five attachments in base64 and the prompt. */
export const REQUEST_BYTES = 40 * 1024 * 1024
/** Longest title, in characters. A generated title is cut to a tenth of it. */
export const TITLE_CHARS = 500
/** Files that come with one message. */
export const ATTACHMENTS = 5
/** Calls that the agents of one run may make of their tools. */
export const TOOL_CALLS = 5_000
export const METADATA_KEYS = 20
export const METADATA_KEY_BYTES = 64
export const METADATA_VALUE_BYTES = 256
export const REPOSITORIES = 20
export const SETUP_COMMANDS = 50
export const SETUP_INPUTS = 100
/** Largest page of any list. */
export const PAGE_LIMIT = 500
/** Largest value of AMBIENT_CHECKPOINT_MB. */
export const CHECKPOINT_MB = 4096
/** Longest rule, in bytes of UTF-8. */
export const RULE_BYTES = 32 * 1024
/** All rules of a team that are enabled, and all of one person: what an agent can be given is never cut. */
export const RULES_BYTES = 96 * 1024
export const PERSONAL_RULES_BYTES = 32 * 1024
/** Of each kind, of one team: the rules and the profiles that may hold are looked at for each run. */
export const PROFILES = 500
export const RULES = 500
export const SAVED_PROMPTS = 5_000
/** Webhooks of one team: each change of state looks at all of them. */
export const WEBHOOKS = 100
/** Names and patterns of branches of one repository that its run may push to. */
export const PUSH_BRANCHES = 50
/** Credentials for repositories, of one team: each request for a repository is held against all of them. */
export const GIT_CREDENTIALS = 200
