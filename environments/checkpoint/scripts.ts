// The shell programs by which the sandbox's git says what became of the repositories, and brings it about again elsewhere.
import { BASELINE, COMMON } from '../work-product/scripts.ts'

// A checkpoint holds the files as they are, whatever git would make of them on their way in and out.
const AS_THEY_ARE = `
export GIT_CONFIG_COUNT=5
export GIT_CONFIG_KEY_0=filter.lfs.clean GIT_CONFIG_VALUE_0=
export GIT_CONFIG_KEY_1=filter.lfs.smudge GIT_CONFIG_VALUE_1=
export GIT_CONFIG_KEY_2=filter.lfs.process GIT_CONFIG_VALUE_2=
export GIT_CONFIG_KEY_3=filter.lfs.required GIT_CONFIG_VALUE_3=false
export GIT_CONFIG_KEY_4=core.autocrlf GIT_CONFIG_VALUE_4=false
`

// What git notes in files of its own while something is going on: a merge, a
// rebase, a cherry-pick, a bisection. What the names stand for is all that is
// written into a git directory again.
const GOING = `
going_names='MERGE_HEAD MERGE_MSG MERGE_MODE MERGE_RR AUTO_MERGE SQUASH_MSG CHERRY_PICK_HEAD REVERT_HEAD REBASE_HEAD
  ORIG_HEAD BISECT_START BISECT_LOG BISECT_NAMES BISECT_TERMS BISECT_EXPECTED_REV BISECT_ANCESTORS_OK
  BISECT_FIRST_PARENT BISECT_RUN info/exclude rebase-merge rebase-apply sequencer'
`

/**
 * $1 the workspace, $2 the most bytes of one file, $3 the name of the facts
 * that are known or `-`, then per repository: its path, the commit it was
 * cloned at, its commit and its tree at the start, each or `-`. Takes
 * `baseline` and `since` from AMBIENT_JOB_FILES: what was there at the start, and
 * a file of that time. Says `facts <name>`; where that is not known, leaves
 * `<number>.facts` and `<number>.pack` there, also for the submodules that were
 * there at the start, which come after the repositories. A pack leans on the
 * commit of the clone.
 */
export const TAKE_SCRIPT = `${COMMON}${AS_THEY_ARE}${BASELINE}${GOING}
known=$1
shift
# Beyond these, entries are not listed one by one, and so are not kept.
most=1000
while [ "$#" -ge 4 ]; do
  printf '%s\\t%s\\t%s\\t%s\\n' "$1" "$2" "$3" "$4" >>"$files/work"
  shift 4
done
of_start() {
  [ ! -e "$files/baseline" ] || sed -n "s|^$1 $(printf '%s' "$path" | sed 's/[][\\\\.*^$|]/\\\\&/g')$tab||p" "$files/baseline"
}

# The submodules that were there, each as a repository of its own.
add_submodules() {
  of_start link | while IFS=$tab read -r below commit; do
    printf '%s\\t%s\\t-\\t-\\n' "$path/$below" "$commit" >>"$files/work"
  done
}
describe_refs() {
  [ -e "$files/baseline" ] || return 0
  of_start ref | sort >"$files/refs.start"
  refs_now | sort >"$files/refs.now"
  comm -13 "$files/refs.start" "$files/refs.now" | sed 's/^/xref /' >>"$facts"
  cut -d ' ' -f 2 "$files/refs.now" | sort >"$files/names.now"
  cut -d ' ' -f 2 "$files/refs.start" | sort | comm -23 - "$files/names.now" | sed 's/^/xgone /' >>"$facts"
}
# What git ignores: what is new since the start, and what is new or another in what was there.
describe_ignored() {
  [ -e "$files/baseline" ] || return 0
  of_start ignored | sort >"$files/ignored.start"
  GIT_INDEX_FILE=$index ignored_now | sort >"$files/ignored.now"
  comm -13 "$files/ignored.start" "$files/ignored.now" >"$files/ignored.new"
  list_some ignored "$files/ignored.new"
  comm -12 "$files/ignored.start" "$files/ignored.now" | grep -v '^"' | sed -e 's|^|./|' -e 's|/$||' | tr '\\n' '\\000' |
    xargs -0 sh -c '[ "$#" -gt 1 ] || exit 0; since=$1; shift
      find "$@" ! -type d -cnewer "$since" 2>/dev/null || find "$@" ! -type d -newer "$since"' sh "$files/since" \\
      2>/dev/null | sed 's|^\\./||' | sort -u >"$files/ignored.changed"
  list_some ignored "$files/ignored.changed"
  comm -23 "$files/ignored.start" "$files/ignored.now" | grep -v '^"' | head -n "$most" | while IFS= read -r entry; do
    [ -e "$entry" ] || [ -L "$entry" ] || echo "vanished $entry"
  done >>"$facts"
}
list_some() {
  count=$(wc -l <"$2")
  if [ "$count" -gt "$most" ]; then echo "many $((count))" >>"$facts"; else sed "s/^/$1 /" "$2" >>"$facts"; fi
}
describe_going() {
  list=$files/going.list objects=$files/going.objects
  : >"$list"
  : >"$objects"
  for name in $going_names; do
    for file in "$git_dir/$name" "$git_dir/$name"/*; do
      [ -f "$file" ] && [ ! -L "$file" ] || continue
      printf '100644 %s 0\\t%s\\n' "$(g hash-object -w --no-filters -- "$file")" "\${file#"$git_dir/"}" >>"$list"
      grep -ohE '[0-9a-f]{40,64}' "$file" >>"$objects"
    done
  done
  if [ -s "$list" ]; then
    rm -f "$index"
    GIT_INDEX_FILE=$index g update-index --add --index-info <"$list" &&
      echo "going $(GIT_INDEX_FILE=$index g write-tree)" >>"$facts"
  fi
}
# Linked worktrees: their own directory is kept with the files, what they lean on in the pack.
describe_worktrees() {
  for linked in "$git_dir"/worktrees/*; do
    [ -f "$linked/HEAD" ] || continue
    IFS= read -r place <"$linked/gitdir"
    case $place in
      "$workspace"/*) echo linked >>"$facts" ;;
      *) echo "outside $place" >>"$facts" ;;
    esac
    g rev-parse --verify --quiet "worktrees/\${linked##*/}/HEAD" >>"$objects"
    grep -rohE '[0-9a-f]{40,64}' "$linked" --exclude=index --exclude-dir=logs >>"$objects" 2>/dev/null
    rm -f "$index"
    cp "$linked/index" "$index" 2>/dev/null && GIT_INDEX_FILE=$index g write-tree >>"$objects" 2>/dev/null
  done
}
describe_objects() {
  sort -u "$objects" | head -n 10000 | g cat-file --batch-check='%(objectname) %(objecttype)' |
    grep -v missing | sed 's/^\\([0-9a-f]*\\) .*/also \\1/' >>"$facts"
}
describe() {
  : >"$facts"
  # A directory in the place of a repository may be in another one.
  cd "$workspace/$path" 2>/dev/null && g rev-parse --git-dir >/dev/null 2>&1 && [ -z "$(g rev-parse --show-prefix)" ] ||
    { echo plain >>"$facts"; describe_place; return; }
  git_dir=$(cd "$(g rev-parse --git-dir)" && pwd)
  worktree=$(tree_now) || { echo plain >"$facts"; describe_place; return; }
  echo "head $(g rev-parse --verify --quiet 'HEAD^{commit}')" >>"$facts"
  describe_place
  echo "branch $(g symbolic-ref --quiet HEAD)" >>"$facts"
  g for-each-ref --format='ref %(objectname) %(refname)' refs/heads >>"$facts"
  g rev-list --walk-reflogs refs/stash 2>/dev/null | sed 's/^/stash /' >>"$facts"
  echo "worktree $worktree" >>"$facts"
  [ "$start" = - ] || echo "files $(g diff-tree -r --name-only "$start" "$worktree" 2>/dev/null | wc -l)" >>"$facts"
  GIT_INDEX_FILE=$index g ls-files --stage | sed -n "s/^160000 [0-9a-f]* 0$tab/link /p" >>"$facts"
  # What git would not take in: repositories without a commit, files that may not be read, empty directories.
  GIT_INDEX_FILE=$index g ls-files --others --exclude-standard --directory | sed 's/^/other /' >>"$facts"
  describe_refs
  describe_ignored
  rm -f "$index"
  cp "$git_dir/index" "$index" 2>/dev/null
  # Where a merge stands in the index, its paths come by themselves.
  GIT_INDEX_FILE=$index g ls-files --unmerged >"$files/unmerged"
  if [ -s "$files/unmerged" ]; then
    echo "unmerged $(g hash-object -w --no-filters -- "$files/unmerged")" >>"$facts"
    sed "s/^[0-7]* \\([0-9a-f]*\\) [1-3]$tab/0 \\1$tab/" "$files/unmerged" | GIT_INDEX_FILE=$index g update-index --index-info
  fi
  echo "staged $(GIT_INDEX_FILE=$index g write-tree 2>/dev/null || echo -)" >>"$facts"
  describe_going
  sed -n "s/^[0-7]* \\([0-9a-f]*\\) [1-3]$tab.*/\\1/p" "$files/unmerged" >>"$objects"
  describe_worktrees
  describe_objects
}
# A submodule's facts say which one it is.
describe_place() {
  [ "$number" -lt "$repositories" ] || printf 'submodule %s %s\\n' "$cloned" "$path" >>"$facts"
}
objects() {
  sed -n -e 's/^head \\([0-9a-f][0-9a-f]*\\)$/\\1/p' -e 's/^x*ref \\([0-9a-f]*\\) .*/\\1/p' -e 's/^stash //p' \\
    -e 's/^worktree //p' -e 's/^staged \\([0-9a-f][0-9a-f]*\\)$/\\1/p' -e 's/^unmerged //p' -e 's/^going //p' \\
    -e 's/^also //p' "$facts"
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
# One step for each repository, with what is said of it in variables.
each() {
  number=0
  while IFS=$tab read -r path cloned base start; do
    index=$files/$number.index facts=$files/$number.facts
    "$1" </dev/null
    number=$((number + 1))
  done <"$files/work"
}
touch "$files/work"
repositories=$(($(wc -l <"$files/work")))
# Grows while it is read: a submodule may have others.
each add_submodules
each describe
cd "$files" || exit 1
number=0
while [ -e "$number.facts" ]; do
  cat "$number.facts"
  number=$((number + 1))
done >all
name=$(g hash-object --stdin <all) || exit 1
echo "facts $name"
[ "$name" != "$known" ] || exit 0
each keep
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
 * for (a branch's ref, a commit, or `-`), the tree of its working directory, or
 * `-` for plain files and `gone` for a submodule that is no repository any more,
 * the tree of its index or `-`, what stands unmerged in it or `-`, and the tree
 * of what was going on or `-`. Takes `<number>.pack`, `.refs`, `.stash` and
 * `.other` from AMBIENT_JOB_FILES, and leaves `baseline`: what was there before.
 */
export const RESTORE_SCRIPT = `${COMMON}${AS_THEY_ARE}${BASELINE}${GOING}
beside=$1
shift
repositories=
# In the place of a submodule may be files of the repository above.
remove_gone() {
  while [ "$#" -ge 6 ]; do
    [ "$3" != gone ] || rm -rf "$workspace/$1" || exit 1
    shift 6
  done
}
restore_going() {
  git_dir=$(cd "$(g rev-parse --git-dir)" && pwd)
  g ls-tree -r "$going" | while IFS=$tab read -r about name; do
    for known in $going_names; do
      case $name in
        *..*) continue ;;
        "$known" | "$known"/*) ;;
        *) continue ;;
      esac
      mkdir -p "$git_dir/$(dirname "$name")"
      g cat-file blob "\${about##* }" >"$git_dir/$name" || exit 1
    done
  done
}
restore() {
  cd "$workspace/$path" || exit 1
  g rev-parse --git-dir >/dev/null 2>&1 && [ -z "$(g rev-parse --show-prefix)" ] ||
    { echo "there is no repository in $path: the clone and the set-up commands have not made it again"; exit 1; }
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
  if [ "$unmerged" != - ]; then
    g cat-file blob "$unmerged" | g update-index --index-info || exit 1
  fi
  g update-index -q --refresh
  g update-ref -d refs/stash
  while IFS= read -r commit; do
    g stash store -q -m "$(g log -1 --format=%s "$commit")" "$commit" || exit 1
  done <"$files/$number.stash"
  [ "$going" = - ] || restore_going
  while IFS= read -r other; do
    rm -rf "./$other"
  done <"$files/$number.other"
}
remove_gone "$@"
number=0
while [ "$#" -ge 6 ]; do
  path=$1 head=$2 worktree=$3 staged=$4 unmerged=$5 going=$6
  shift 6
  if [ "$worktree" != - ] && [ "$worktree" != gone ]; then
    [ -e "$files/$number.submodule" ] || note_start "$path" "$files/start.$number.index"
    restore
    repositories="$repositories$path
"
  fi
  number=$((number + 1))
done
${CLEAR}exit 0
`

/**
 * Once the files are there: $1 the workspace, $2 unused, $3 the workspace as the
 * checkpoint's sandbox saw it, then the repositories with linked worktrees.
 */
export const RELINK_SCRIPT = `${COMMON}
former=$1
shift
for path in "$@"; do
  cd "$workspace/$path" || exit 1
  for gitdir in .git/worktrees/*/gitdir; do
    [ -f "$gitdir" ] || continue
    IFS= read -r linked <"$gitdir"
    case $linked in
      "$former"/*/.git) below=\${linked#"$former/"} ;;
      *) continue ;;
    esac
    [ -f "$workspace/$below" ] || continue
    printf 'gitdir: %s\\n' "$PWD/\${gitdir%/gitdir}" >"$workspace/$below"
    printf '%s\\n' "$workspace/$below" >"$gitdir"
  done
done
exit 0
`
