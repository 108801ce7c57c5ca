// Rows under heads, each column as wide as its widest cell.
import { columns } from './text.ts'

/** `paint` colours a cell of a row; widths are of the text without colours. */
export function table(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
  dim: (text: string) => string,
  paint: (cell: string, column: number, row: number) => string = (cell) => cell,
): string {
  const widths = heads.map((head, index) => Math.max(head.length, ...rows.map((cells) => columns(cells[index] ?? ''))))
  const line = (cells: readonly string[], colour: (cell: string, column: number) => string) =>
    cells
      .map((cell, index) => colour(cell, index) + ' '.repeat((widths[index] ?? 0) - columns(cell)))
      .join('  ')
      .trimEnd()
  return [line(heads, dim), ...rows.map((cells, row) => line(cells, (cell, column) => paint(cell, column, row)))]
    .map((text) => `${text}\n`)
    .join('')
}
