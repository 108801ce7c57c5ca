// The forges whose tokens are known here.

/** Each with the host that it is found at when nobody names another one. */
export const forgeHomes = { github: 'github.com', gitlab: 'gitlab.com' } as const

export type ForgeName = keyof typeof forgeHomes
