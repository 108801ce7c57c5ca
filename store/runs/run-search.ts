// What runs are searched by: the words of each, with its team and metadata, in one inverted index.
import { type RawBuilder, sql } from 'kysely'
import { nearest } from '../../domain/nearest.ts'
import { type Wanted, wordsOf } from '../../domain/search.ts'
import type { Queryable } from '../database.ts'

/** What a run is found by. None of it ever changes. */
export interface Searchable {
  id: string
  team: string
  title: string
  prompt: string
  metadata: Readonly<Record<string, string>>
  /** What it works by. */
  skills?: readonly string[]
}

/** No word begins so: what people look for never meets these. */
const teamTerm = (team: string) => `=team=${team}`
const metadataTerm = (key: string, value: string) => `=meta=${key}=${value}`

const termsOf = ({ team, title, prompt, metadata, skills = [] }: Searchable): string[] => [
  teamTerm(team),
  ...Object.entries(metadata).map(([key, value]) => metadataTerm(key, value)),
  ...wordsOf([title, prompt, ...skills].join('\n')),
]

/** For the statement that writes the run. */
export const searchRow = (run: Searchable) => ({
  run_id: run.id,
  words: sql<string>`array_to_tsvector(${termsOf(run)}::text[])`,
})

/** A word that is looked for, and what else it may be read as. */
export interface Term {
  any: readonly Wanted[]
  /** Of all runs, those that have it; 0 where it is none of the frequent words. */
  share: number
}

/** A condition on `run_search`: runs with this metadata and these words, of this team or of all. Null where nothing narrows it. */
export function searchCondition(
  team: string | null,
  metadata: Readonly<Record<string, string>>,
  words: readonly Term[],
): RawBuilder<boolean> | null {
  const pairs = Object.entries(metadata).map(([key, value]) => quoted(metadataTerm(key, value)))
  if (pairs.length === 0 && words.length === 0) return null
  // To look up every run that has a frequent word takes longer than to look at those that have the rarer ones.
  const byShare = words.toSorted((one, other) => one.share - other.share)
  const rare = byShare.filter(({ share }) => share <= FREQUENT_SHARE)
  const looked = rare.length > 0 ? rare : byShare.slice(0, FEW)
  const frequent = byShare.slice(looked.length)
  const terms = [...(team === null ? [] : [quoted(teamTerm(team))]), ...pairs, ...looked.map(textOf)].join(' & ')
  const found = sql<boolean>`run_search.words @@ ${terms}::tsquery`
  if (frequent.length === 0) return found
  // The operator's own function, which no index is searched for.
  return sql<boolean>`${found} and ts_match_vq(run_search.words, ${frequent.map(textOf).join(' & ')}::tsquery)`
}

const quoted = (term: string) => `'${term.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`

const textOf = ({ any }: Term) =>
  `(${any.map(({ word, isWhole }) => quoted(word) + (isWhole ? '' : ':*')).join(' | ')})`

/** Frequent words with their share of all runs, as Postgres counts them when it analyses the table: some thousands. */
const known = sql`(
  select unnest(most_common_elems::text::text[]) as term, unnest(most_common_elem_freqs) as share
  from pg_stats
  where schemaname = current_schema() and tablename = 'run_search' and attname = 'words'
)`

const FREQUENT_SHARE = 0.01
/** Words that are looked up where all are frequent. */
const FEW = 3

/** The terms of a search; of a single one it makes no difference how frequent it is. */
export async function termsFor(db: Queryable, wanted: readonly Wanted[]): Promise<Term[]> {
  if (wanted.length < 2) return wanted.map((one) => ({ any: [one], share: 0 }))
  const { rows } = await sql<{ word: string; share: number }>`
    select word, sum(share)::float8 as share
    from unnest(${wanted.map(({ word }) => word)}::text[]) as word
    join ${known} as known on starts_with(term, word)
    group by word
    having sum(share) > ${FREQUENT_SHARE}
  `.execute(db)
  const shares = new Map(rows.map(({ word, share }) => [word, share]))
  return wanted.map((one) => ({ any: [one], share: shares.get(one.word) ?? 0 }))
}

/**
 * The terms with what was meant by words that are the beginning of no frequent
 * one: a frequent one that begins alike and is spelled almost so. Null where
 * there is no such word.
 */
export async function respelled(db: Queryable, terms: readonly Term[]): Promise<Term[] | null> {
  const words = terms.flatMap(({ any: [one] }) => (one && /^[a-z0-9]{4,}$/.test(one.word) ? [one.word] : []))
  if (words.length === 0) return null
  const { rows } = await sql<{ word: string; alike: string[] }>`
    select word, array_agg(term) as alike
    from unnest(${words}::text[]) as word
    join ${known} as known
      on left(term, 1) = left(word, 1) and abs(length(term) - length(word)) <= ${MISSPELLED_LETTERS}
    where term ~ '^[a-z0-9]+$'
    group by word
    having not bool_or(starts_with(term, word))
  `.execute(db)
  const meant = new Map(rows.map(({ word, alike }) => [word, nearest(word, alike)]))
  if (![...meant.values()].some((word) => word !== null)) return null
  return terms.map((term) => {
    const word = meant.get(term.any[0]?.word ?? '') ?? null
    return word === null ? term : { any: [...term.any, { word, isWhole: true }], share: 0 }
  })
}

const MISSPELLED_LETTERS = 2

/** Runs of one step: each is short, so that it holds nobody up. */
const PAGE = 500

/**
 * Makes what runs are searched by, for those that have been written by a server
 * of before there was such a thing. Answers with how many there were.
 */
export async function fillSearch(db: Queryable): Promise<number> {
  let filled = 0
  for (let after: string | null = null; ; ) {
    const { rows }: { rows: Searchable[] } = await sql<Searchable>`
      select id, team, title, prompt, metadata from runs
      where (${after}::uuid is null or id > ${after}::uuid)
        and not exists (select from run_search where run_search.run_id = runs.id)
      order by id limit ${PAGE}
    `.execute(db)
    const last = rows.at(-1)
    if (last === undefined) return filled
    const words = rows.map((run) => JSON.stringify(termsOf(run)))
    await sql`
      insert into run_search (run_id, words)
      select id, array_to_tsvector(array(select distinct jsonb_array_elements_text(terms::jsonb)))
      from unnest(${rows.map(({ id }) => id)}::uuid[], ${words}::text[]) as filled (id, terms)
      on conflict do nothing
    `.execute(db)
    filled += rows.length
    after = last.id
  }
}
