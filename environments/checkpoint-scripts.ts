// The shell programs by which the sandbox's git says what became of the repositories, and brings it about again elsewhere.
import { COMMON } from './work-product-scripts.ts'

// A checkpoint holds the files as they are, whatever git would make of them on their way in and out.
const AS_THEY_ARE = `
export GIT_CONFIG_COUNT=5
export GIT_CONFIG_KEY_0=filter.lfs.clean GIT_CONFIG_VALUE_0=
export GIT_CONFIG_KEY_1=filter.lfs.smudge GIT_CONFIG_VALUE_1=
export GIT_CONFIG_KEY_2=filter.lfs.process GIT_CONFIG_VALUE_2=
export GIT_CONFIG_KEY_3=filter.lfs.required GIT_CONFIG_VALUE_3=false
export GIT_CONFIG_KEY_4=core.autocrlf GIT_CONFIG_VALUE_4=false
`

/**
 * $1 the workspace, $2 the most bytes of one file, $3 the name of the facts
 * that are known or `-`, then per repository: its path, the commit it was
 * cloned at, its commit and its tree at the start, each or `-`. Says
 * `facts <name>`; where that is not known, leaves `<number>.facts` and
 * `<number>.pack` in AMBIENT_JOB_FILES. The pack leans on the commit of the clone.
 */
export const TAKE_SCRIPT = `${COMMON}${AS_THEY_ARE}
known=$1
shift
tab=$(printf '\\t')
describe() {
  : >"$facts"
  # A directory in the place of a repository may be in another one.
  cd "$workspace/$path" 2>/dev/null && g rev-parse --git-dir >/dev/null 2>&1 && [ -z "$(g rev-parse --show-prefix)" ] ||
    { echo plain >>"$facts"; return; }
  worktree=$(tree_now) || { echo plain >"$facts"; return; }
  echo "head $(g rev-parse --verify --quiet 'HEAD^{commit}')" >>"$facts"
  echo "branch $(g symbolic-ref --quiet HEAD)" >>"$facts"
  g for-each-ref --format='ref %(objectname) %(refname)' refs/heads >>"$facts"
  g rev-list --walk-reflogs refs/stash 2>/dev/null | sed 's/^/stash /' >>"$facts"
  echo "worktree $worktree" >>"$facts"
  GIT_INDEX_FILE=$index g ls-files --stage | sed -n "s/^160000 [0-9a-f]* 0$tab/link /p" >>"$facts"
  # What git would not take in: repositories without a commit, files that may not be read.
  GIT_INDEX_FILE=$index g ls-files --others --exclude-standard --directory --no-empty-directory |
    sed 's/^/other /' >>"$facts"
  rm -f "$index"
  cp "$(g rev-parse --git-path index)" "$index" 2>/dev/null
  echo "staged $(GIT_INDEX_FILE=$index g write-tree 2>/dev/null || echo -)" >>"$facts"
  for name in MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD rebase-merge rebase-apply; do
    [ ! -e "$(g rev-parse --git-path "$name")" ] || echo "unfinished $name" >>"$facts"
  done
}
objects() {
  sed -n -e 's/^head \\([0-9a-f][0-9a-f]*\\)$/\\1/p' -e 's/^ref \\([0-9a-f]*\\) .*/\\1/p' -e 's/^stash //p' \\
    -e 's/^worktree //p' -e 's/^staged \\([0-9a-f][0-9a-f]*\\)$/\\1/p' "$facts"
  for object in "$base" "$start"; do
    [ "$object" != - ] && g cat-file -e "$object" 2>/dev/null && echo "$object"
  done
  [ "$cloned" = - ] || ! g cat-file -e "$cloned^{commit}" 2>/dev/null || echo "^$cloned"
}
keep() {
  [ "$(head -n 1 "$facts")" != plain ] || return 0
  cd "$workspace/$path" || exit 1
  { objects | g pack-objects -q --revs --thin --delta-base-offset --stdout || echo "failed $number" >&2; } |
    head -c "$limit" >"$files/$number.pack"
}
# One step for each repository, with its arguments in variables.
each() {
  step=$1
  shift
  number=0
  while [ "$#" -ge 4 ]; do
    path=$1 cloned=$2 base=$3 start=$4
    shift 4
    index=$files/$number.index facts=$files/$number.facts
    "$step"
    number=$((number + 1))
  done
}
each describe "$@"
cd "$files" || exit 1
name=$(cat ./*.facts | g hash-object --stdin) || exit 1
echo "facts $name"
[ "$name" != "$known" ] || exit 0
each keep "$@"
`

// Removes everything beside the repositories, where that is asked for.
const CLEAR = `
# Whether $1 is a repository, above one, or beside them.
place_of() {
  while IFS= read -r repository; do
    case $repository in
      "$1") echo here; return ;;
      "$1"/*) echo above; return ;;
    esac
  done <<END
$repositories
END
  echo beside
}
clear_beside() {
  for entry in "$1"* "$1".[!.]* "$1"..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    case $(place_of "$entry") in
      here) ;;
      above) clear_beside "$entry/" ;;
      *) rm -rf "./$entry" || exit 1 ;;
    esac
  done
}
if [ "$beside" = clear ]; then
  cd "$workspace" || exit 1
  clear_beside ''
fi
`

/** As {@link RESTORE_SCRIPT} where there are no repositories, and so perhaps no git. */
export const CLEAR_SCRIPT = `
workspace=$1 beside=$3 repositories=
${CLEAR}exit 0
`

/**
 * $1 the workspace, $2 unused, $3 `clear` where everything beside the
 * repositories is to be removed, then per repository its path, what HEAD stands
 * for (a branch's ref, a commit, or `-`), the tree of its working directory or
 * `-` for plain files, and the tree of its index or `-`. Takes `<number>.pack`,
 * `.refs`, `.stash` and `.other` from AMBIENT_JOB_FILES.
 */
export const RESTORE_SCRIPT = `${COMMON}${AS_THEY_ARE}
beside=$1
shift
repositories=
restore() {
  cd "$workspace/$path" || exit 1
  # What the set-up commands have made, so that it goes where it is not to be.
  g add --all --ignore-errors .
  g index-pack --stdin --fix-thin <"$files/$number.pack" >/dev/null || exit 1
  g read-tree --reset -u "$worktree" || exit 1
  g for-each-ref --format='delete %(refname)' refs/heads | g update-ref --stdin || exit 1
  g update-ref --stdin <"$files/$number.refs" || exit 1
  case $head in
    -) ;;
    refs/*) g symbolic-ref HEAD "$head" || exit 1 ;;
    *) g update-ref --no-deref HEAD "$head" || exit 1 ;;
  esac
  if [ "$staged" != - ]; then
    g read-tree "$staged" || exit 1
  else
    g read-tree HEAD 2>/dev/null || g read-tree --empty || exit 1
  fi
  g update-index -q --refresh
  g update-ref -d refs/stash
  while IFS= read -r commit; do
    g stash store -q -m "$(g log -1 --format=%s "$commit")" "$commit" || exit 1
  done <"$files/$number.stash"
  while IFS= read -r other; do
    rm -rf "./$other"
  done <"$files/$number.other"
}
number=0
while [ "$#" -ge 4 ]; do
  path=$1 head=$2 worktree=$3 staged=$4
  shift 4
  if [ "$worktree" != - ]; then
    restore
    repositories="$repositories$path
"
  fi
  number=$((number + 1))
done
${CLEAR}exit 0
`
