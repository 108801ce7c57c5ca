#!/bin/sh
# Makes the default container image from Debian packages, without any image
# registry: `environments/base-image.sh [name]`. Does nothing when the image is
# there; `--force` makes it again. Needs root, mmdebstrap and a Docker daemon.
set -eu

image=ambient-base:latest
force=
for argument in "$@"; do
  case $argument in
    --force) force=yes ;;
    -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    -*) echo "base-image: unknown option $argument" >&2; exit 2 ;;
    *) image=$argument ;;
  esac
done

suite=bookworm
packages=git,ca-certificates,curl,openssh-client,procps,ripgrep,python3-minimal,less,jq,unzip,xz-utils,patch,make

say() { echo "base-image: $*"; }
fail() { echo "base-image: $*" >&2; exit 1; }

docker version >/dev/null 2>&1 || fail "no Docker daemon answers. Start it, then run this again."
if [ -z "$force" ] && docker image inspect "$image" >/dev/null 2>&1; then
  say "$image is there already (--force makes it again)."
  exit 0
fi
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
[ "$(id -u)" = 0 ] || fail "needs root: sudo $0"

# The machine's own Debian mirror, where it has one; mmdebstrap's default else.
# Both formats of apt's source lists are read; other vendors' sources are left out.
mirrors() {
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n -e 's/^URIs:[[:space:]]*//p' -e 's/^deb[[:space:]]\(\[[^]]*\][[:space:]]*\)\{0,1\}//p' |
    tr ' \t' '\n\n' | grep -E '^https?://' | sed 's:/*$::' | sort -u
}
main=$(mirrors | grep -E '/debian$' | head -n 1 || true)
security=$(mirrors | grep -E '/debian-security$' | head -n 1 || true)
set --
if [ -n "$main" ]; then
  set -- "deb $main $suite main" "deb $main $suite-updates main"
  if [ -n "$security" ]; then set -- "$@" "deb $security $suite-security main"; fi
fi

# What the machine needs to reach its mirror, it needs here too.
options=$(mktemp)
trap 'rm -f "$options" "$options.tar"' EXIT
apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::|Retries)' >"$options" || true

say "making $image from Debian $suite${main:+ ($main)}: about a minute"
# With a mirror's name alone mmdebstrap writes the source list itself, so the
# lines are handed over one by one.
mmdebstrap --variant=minbase --include="$packages" --aptopt="$options" \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash agent' \
  --customize-hook='mkdir -p "$1/workspace" && chown 1000:1000 "$1/workspace"' \
  --customize-hook='ln -sf python3 "$1/usr/bin/python"' \
  --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
  --quiet "$suite" "$options.tar" "$@"

say "importing it"
docker import \
  --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV LANG=C.UTF-8' \
  --change 'WORKDIR /workspace' \
  --change 'CMD ["/bin/bash"]' \
  --change 'LABEL ambient.image=base' \
  "$options.tar" "$image" >/dev/null
say "done: $image, $(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%d MB", $1 / 1000000}')"
