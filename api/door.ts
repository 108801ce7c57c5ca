// A door: so many pass it at once, the others wait in the order in which they came.

export type Door = <T>(work: () => Promise<T>) => Promise<T>

export function createDoor(places: number): Door {
  let free = places
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free -= 1
    else await new Promise<void>((enter) => waiting.push(enter))
    try {
      return await work()
    } finally {
      // The place goes from hand to hand while there are others.
      const next = waiting.shift()
      if (next === undefined) free += 1
      else next()
    }
  }
}
