// The shell programs that work on prepared repositories from inside the sandbox.
import { COMMON } from '../work-product/scripts.ts'

/**
 * $1 the workspace, $2 unused, then per repository its path, its commit, the one
 * it is to come to, the ref that HEAD stands for or `-`, and the server's branch
 * or `-`. Takes `<number>.pack` from AMBIENT_JOB_FILES. What the set-up has
 * changed in the repository's own files stays; where that stands in the way it
 * goes, and `again <number>` says so.
 */
export const MOVE_SCRIPT = `${COMMON}
move() {
  cd "$workspace/$path" || exit 1
  g index-pack --stdin <"$files/$number.pack" >/dev/null || exit 1
  g update-index -q --refresh
  on=$(g symbolic-ref --quiet HEAD) || on=-
  if [ "$(g rev-parse --verify --quiet 'HEAD^{commit}')" != "$from" ] || [ "$on" != "$branch" ] ||
    ! g read-tree -m -u "$from" "$to" 2>/dev/null; then
    echo "again $number"
    [ "$branch" = - ] || g symbolic-ref HEAD "$branch" || exit 1
    rm -f "$(g rev-parse --git-path index.lock)"
    g read-tree --reset -u "$to" || exit 1
  fi
  if [ "$branch" = - ]; then
    g update-ref --no-deref HEAD "$to" || exit 1
  else
    g update-ref "$branch" "$to" || exit 1
  fi
  [ "$upstream" = - ] || g update-ref "refs/remotes/origin/$upstream" "$to" || exit 1
}
number=0
while [ "$#" -ge 5 ]; do
  path=$1 from=$2 to=$3 branch=$4 upstream=$5
  shift 5
  move
  number=$((number + 1))
done
exit 0
`

/**
 * $1 the workspace, $2 unused, then the repositories' paths. The index notes
 * how each file is, so that nobody has to read them all again; the owner of the
 * files was changed since they were checked out.
 */
export const REFRESH_SCRIPT = `${COMMON}
for path in "$@"; do
  cd "$workspace/$path" 2>/dev/null && g rev-parse --git-dir >/dev/null && g update-index -q --refresh
done
exit 0
`
