// How output looks on this terminal, or plainly where there is none.
import pc from 'picocolors'

export type Colours = ReturnType<typeof pc.createColors>

export interface Style {
  colours: Colours
  /** Columns of the terminal; null where output is not a terminal, and nothing is wrapped. */
  width: number | null
}

export const plainStyle: Style = { colours: pc.createColors(false), width: null }

/** Colours only on a terminal, and not where NO_COLOR is set. */
export function styleOf(stream: NodeJS.WriteStream): Style {
  if (!stream.isTTY) return plainStyle
  return { colours: pc.createColors(pc.isColorSupported), width: Math.max(20, stream.columns || 80) }
}

/** Where text is not wrapped it is still cut where one line is all there is room for. */
export const lineWidth = (style: Style) => Math.min(style.width ?? 120, 160)
