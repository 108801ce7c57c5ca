// How runs are searched: texts as sets of words. What is stored and what is asked for go through the same hands here.

/** Characters of a text that are searched. What a prompt says further on, for instance in a log, is not found. */
export const SEARCHED_CHARS = 64 * 1024

/** Longer words are known by their beginning. */
const WORD_CHARS = 64

/** Scripts that put no space between words: any two neighbouring characters count as one. */
const dense =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u

/** Where `parseHTTPHeader` has words of its own. */
const hump = /(?<=[\p{Ll}\p{N}])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/u

const tokensOf = (text: string): string[] => text.normalize('NFKC').match(/[\p{L}\p{M}\p{N}]+/gu) ?? []

const plain = (token: string): string => [...token.toLowerCase()].slice(0, WORD_CHARS).join('')

/** The words of a text, by which it is found. */
export function wordsOf(text: string): Set<string> {
  const words = new Set<string>()
  for (const token of tokensOf(text.slice(0, SEARCHED_CHARS).toWellFormed())) {
    words.add(plain(token))
    for (const part of token.split(hump)) words.add(plain(part))
    if (dense.test(token)) for (const pair of pairsOf(token)) words.add(pair)
  }
  return words
}

/** A word that is looked for: as it is, or as the beginning of one. */
export interface Wanted {
  word: string
  isWhole: boolean
}

/** What is looked for: every one of these has to be found. Empty where the text has no words. */
export function wantedIn(text: string): Wanted[] {
  const wanted = tokensOf(text).flatMap((token) => {
    const pairs = dense.test(token) ? pairsOf(token) : []
    if (pairs.length > 0) return pairs.map((word) => ({ word, isWhole: true }))
    const word = plain(token)
    return [{ word, isWhole: word.length < SHORTEST_BEGINNING }]
  })
  return [...new Map(wanted.map((each) => [each.word, each])).values()].slice(0, WANTED_WORDS)
}

/** Very many words begin with the same one or two characters: these are looked for as they are. */
const SHORTEST_BEGINNING = 3

/** More do not narrow a search. */
const WANTED_WORDS = 20

function pairsOf(token: string): string[] {
  const characters = [...token.toLowerCase()]
  return characters.slice(1).map((character, at) => `${characters[at]}${character}`)
}
