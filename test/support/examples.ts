// The examples of a page of the documentation, as one program.

/** All blocks of a language, in order. */
export const examplesIn = (markdown: string, language: string): string =>
  [...markdown.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))]
    .map(([, code]) => code)
    .join('\n')
