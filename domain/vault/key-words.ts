// How the vault's keys are written down, wherever they come from.

/** Keys stand on lines of their own, or between commas; what follows a # is a remark. */
export const keyWords = (text: string): string[] =>
  text
    .replaceAll(/#.*$/gm, '')
    .split(/[\s,]+/)
    .filter((word) => word !== '')

export const isHexKey = (word: string): boolean => /^[0-9a-f]{64}$/i.test(word)
