// The shell programs that look at the repositories from inside the sandbox.
//
// Once an agent has been in a repository, its configuration can name programs
// that git would run. So it is the sandbox's git that looks, as the sandbox's
// user, and the host reads what it leaves in files.

// Everything a repository or its owner may have set that would change what is said is set here.
export const COMMON = `
workspace=$1 limit=$2
shift 2
files=$AMBIENT_JOB_FILES
export LC_ALL=C GIT_TERMINAL_PROMPT=0 GIT_OPTIONAL_LOCKS=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_EXTERNAL_DIFF
command -v git >/dev/null || exit 3
g() {
  git -c safe.directory='*' -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0 -c core.quotePath=true \\
    -c diff.noprefix=false -c diff.mnemonicPrefix=false -c diff.relative=false -c color.ui=never "$@"
}
# The tree of the working directory with untracked files and without ignored ones; the repository's own index is not touched.
tree_now() {
  rm -f "$index"
  # With its time: git goes by it where a file was changed in the second in which the index was written.
  cp -p "$(g rev-parse --git-path index)" "$index" 2>/dev/null
  GIT_INDEX_FILE=$index g add --all --ignore-errors . || echo 'note some files could not be read' >>"$facts"
  GIT_INDEX_FILE=$index g write-tree
}
`

// Notes what is there before an agent works: what a checkpoint need not hold, since a clone and the set-up commands bring
// it again. Refs beside branches, what git ignores, and submodules, each of a repository that is named by its path.
export const BASELINE = `
tab=$(printf '\\t')
refs_now() {
  g for-each-ref --format='%(objectname) %(refname)' | grep -Ev '^[0-9a-f]* refs/(heads|remotes|ambient)/| refs/stash$'
}
ignored_now() {
  g -c core.quotePath=false ls-files --others --ignored --exclude-standard --directory
}
# $1 is the repository, $2 an index with all its files where there is one.
note_start() {
  (
    cd "$workspace/$1" 2>/dev/null && [ -z "$(g rev-parse --show-prefix 2>&1)" ] || exit 0
    index=$2 facts=/dev/null
    [ -e "$index" ] || tree_now >/dev/null 2>&1
    name=$(printf '%s' "$1" | sed 's/[\\\\&|]/\\\\&/g')
    refs_now | sed "s|^|ref $name$tab|"
    GIT_INDEX_FILE=$index ignored_now | sed "s|^|ignored $name$tab|"
    g ls-files --stage | sed -n "s/^160000 [0-9a-f]* 0$tab//p" | while IFS= read -r below; do
      [ -e "$below/.git" ] && commit=$(cd "$below" && g rev-parse --verify --quiet 'HEAD^{commit}') || continue
      printf 'link %s\\t%s\\t%s\\n' "$1" "$below" "$commit"
      rm -f "$files/below.index"
      note_start "$1/$below" "$files/below.index"
    done
  ) >>"$files/baseline" </dev/null
}
`

/**
 * $1 the workspace, $2 unused, then the repositories' paths. Says per
 * repository: its number, its commit or `-`, the tree of its working directory
 * or `-`.
 */
export const START_SCRIPT = `${COMMON}${BASELINE}
number=0
for path in "$@"; do
  index=$files/$number.index facts=$files/$number.facts
  base=- tree=-
  if cd "$workspace/$path" 2>/dev/null && g rev-parse --git-dir >/dev/null; then
    base=$(g rev-parse --verify --quiet 'HEAD^{commit}') || base=-
    tree=$(tree_now) || tree=-
  fi
  echo "start $number $base $tree"
  note_start "$path" "$index"
  number=$((number + 1))
done
`

/**
 * $1 the workspace, $2 the most bytes of one file, $3 those of commits to be
 * pushed, then per repository its path, its commit at the start or `-`, its tree
 * at the start or `-`, the branch that is to be pushed or `-`, and the commit
 * that it was cloned at or `-`. Leaves `<number>.facts`, `.log`, `.patch`,
 * `.bundle` and `.push` in AMBIENT_JOB_FILES.
 */
export const COLLECT_SCRIPT = `${COMMON}
push_limit=$1
shift
tab=$(printf '\\t')
# What was there but not committed at the end, over the last commit: a file is
# taken from the end where it differs from the start, so that what the set-up
# left uncommitted is not taken for the agent's work.
result_tree() {
  [ -n "$head" ] || { echo "$end"; return; }
  rm -f "$index"
  export GIT_INDEX_FILE="$index"
  g read-tree -i -m --aggressive "$start" "$head" "$end" || { unset GIT_INDEX_FILE; echo "$end"; return; }
  g ls-files --unmerged | sed -n "s/^[0-7]* \\([0-9a-f]*\\) [1-3]$tab/0 \\1$tab/p" >"$index.list"
  g ls-files --unmerged | sed -n "s/^\\([0-7]* [0-9a-f]*\\) 3$tab/\\1$tab/p" >>"$index.list"
  g update-index --index-info <"$index.list"
  g write-tree
  unset GIT_INDEX_FILE
}
# A submodule is a repository of its own, which nobody asked to have pushed. Its commit is no news where a branch of its
# server has it, as far as the sandbox has heard: because it was fetched, or pushed by the agent itself.
is_pushed() {
  since=
  case $1 in *[1-9a-f]*) since="^$1" ;; esac
  cd "./$3" 2>/dev/null && left=$(g rev-list --max-count=1 "$2" $since --not --remotes 2>/dev/null) && [ -z "$left" ]
}
note_submodules() {
  moved=$(g diff --raw --no-abbrev --no-renames --ignore-submodules=none "$start" "$end" |
    sed -n "s/^:[0-7]* 160000 \\([0-9a-f]*\\) \\([0-9a-f]*\\) [A-Z][0-9]*$tab\\(.*\\)/\\1 \\2 \\3/p" |
    while read -r old new below; do
      (is_pushed "$old" "$new" "$below") || printf '%s at %.12s\\n' "$below" "$new"
    done | head -n 10 | cut -b 1-200 | paste -s -d , -)
  [ -n "$moved" ] || return
  echo "submodules $moved" >>"$facts"
  echo "note commits in submodules are neither pushed nor in the diff, and no branch of their servers is known to have them: $moved" >>"$facts"
}
collect() {
  cd "$workspace/$path" 2>/dev/null && g rev-parse --git-dir >/dev/null || { echo 'note it is not there any more' >>"$facts"; return; }
  empty=$(g hash-object -w -t tree /dev/null)
  head=$(g rev-parse --verify --quiet 'HEAD^{commit}')
  echo "head $head" >>"$facts"
  echo "branch $(g symbolic-ref --quiet --short HEAD)" >>"$facts"
  end=$(tree_now) || { echo 'note its files could not be read' >>"$facts"; return; }
  if [ "$base" != - ] && ! g cat-file -e "$base^{commit}" 2>/dev/null; then
    echo 'note the commit it began with is gone' >>"$facts"
    base=-
  fi
  if [ "$start" = - ] || ! g cat-file -e "$start^{tree}" 2>/dev/null; then
    [ "$start" = - ] || echo 'note its state at the start is gone; compared with the commit it began with' >>"$facts"
    start=$empty
    [ "$base" = - ] || start=$(g rev-parse "$base^{tree}")
  fi
  since=
  [ "$base" = - ] || since="^$base"
  [ -z "$head" ] || g log --max-count=501 --format='%H%x1f%an%x1f%aI%x1f%s' "$head" $since | cut -b 1-8000 >"$files/$number.log"
  echo "stat $(g diff --shortstat -M --no-ext-diff --no-textconv "$start" "$end")" >>"$facts"
  g diff --binary -M --no-ext-diff --no-textconv --submodule=short "$start" "$end" | head -c "$limit" >"$files/$number.patch"
  note_submodules
  result=$head
  tree=$(result_tree)
  if [ "$tree" != "$(g rev-parse --verify --quiet "\${head:-none}^{tree}" || echo "$empty")" ]; then
    result=$(echo 'Work that was not committed' |
      GIT_AUTHOR_NAME=Ambient GIT_AUTHOR_EMAIL=ambient@localhost \\
      GIT_COMMITTER_NAME=Ambient GIT_COMMITTER_EMAIL=ambient@localhost \\
      g commit-tree "$tree" \${head:+-p "$head"})
  fi
  if [ -n "$result" ] && [ "$(g rev-list --max-count=1 "$result" $since)" ]; then
    g update-ref refs/ambient/result "$result"
    g bundle create - refs/ambient/result $since 2>"$files/$number.errors" | head -c "$limit" >"$files/$number.bundle"
    g update-ref -d refs/ambient/result
    [ -s "$files/$number.bundle" ] || echo 'note no bundle of its commits could be made' >>"$facts"
  fi
}
# The commits of a branch, in a bundle that leans on what the server has.
collect_push() {
  cd "$workspace/$path" 2>/dev/null || return
  tip=$(g rev-parse --verify --quiet "refs/heads/$push^{commit}") || return
  since=
  g cat-file -e "$base^{commit}" 2>/dev/null && since="^$base"
  [ "$(g rev-list --max-count=1 "$tip" $since)" ] || return
  since=
  g cat-file -e "$cloned^{commit}" 2>/dev/null && since="^$cloned"
  echo "push $tip" >>"$facts"
  g bundle create - "refs/heads/$push" $since 2>"$files/$number.errors" | head -c "$push_limit" >"$files/$number.push"
}
number=0
while [ "$#" -ge 5 ]; do
  path=$1 base=$2 start=$3 push=$4 cloned=$5
  shift 5
  index=$files/$number.index facts=$files/$number.facts
  began=$base
  collect
  base=$began
  [ "$push" = - ] || collect_push
  number=$((number + 1))
done
exit 0
`
