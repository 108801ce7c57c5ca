// Reads a git patch for people: which files, how many lines, and a coloured view.
import type { Style } from './render/style.ts'
import { clean, columns } from './render/text.ts'

export interface PatchedFile {
  path: string
  insertions: number
  deletions: number
  binary: boolean
}

export function patchedFiles(patch: string): PatchedFile[] {
  const files: PatchedFile[] = []
  let inHunk = false
  for (const line of patch.split('\n')) {
    if (line.startsWith('diff --git ')) {
      files.push({ path: pathOf(line), insertions: 0, deletions: 0, binary: false })
      inHunk = false
      continue
    }
    const file = files.at(-1)
    if (!file) continue
    if (line.startsWith('@@ ')) inHunk = true
    else if (line.startsWith('GIT binary patch') || line.startsWith('Binary files ')) file.binary = true
    else if (inHunk && line.startsWith('+')) file.insertions++
    else if (inHunk && line.startsWith('-')) file.deletions++
  }
  return files
}

/** `diff --git a/x b/x`: the names are the same but for a renaming, when the second one counts. */
function pathOf(header: string): string {
  const names = header.slice('diff --git '.length)
  const half = names.slice(2, (names.length - 1) / 2)
  if (names === `a/${half} b/${half}`) return half
  return /"?b\/(.*?)"?$/.exec(names.slice(names.search(/ "?b\//)))?.[1] ?? names
}

export function renderStat(files: readonly PatchedFile[], style: Style): string {
  const { colours } = style
  const width = Math.max(0, ...files.map(({ path }) => columns(clean(path))))
  return files
    .map(({ path, insertions, deletions, binary }) => {
      const name = clean(path)
      const counts = binary ? 'binary' : `${colours.green(`+${insertions}`)} ${colours.red(`−${deletions}`)}`
      return `  ${name}${' '.repeat(width - columns(name))}  ${counts}\n`
    })
    .join('')
}

/** For a terminal: coloured as git does it, and without anything that a terminal would obey. */
export function renderPatch(patch: string, style: Style): string {
  const { colours } = style
  const colour = (line: string): string => {
    if (/^(diff --git|index |--- |\+\+\+ |new file|deleted file|similarity|rename )/.test(line))
      return colours.bold(line)
    if (line.startsWith('@@')) return colours.cyan(line)
    if (line.startsWith('+')) return colours.green(line)
    return line.startsWith('-') ? colours.red(line) : line
  }
  return patch
    .split('\n')
    .map((line) => colour(clean(line)))
    .join('\n')
}
