#!/bin/sh
# Makes a base for the Dockerfile where no registry is reachable:
# `deploy/base-image.sh [name]`. It is the image of environments/base-image.sh
# with this clone's Node.js, this machine's npm, and the certificate authorities
# that this machine trusts. Needs what environments/base-image.sh needs.
set -eu

image=${1:-ambient-node:latest}
root=$(dirname "$(dirname "$(readlink -f "$0")")")
"$root/environments/base-image.sh" ambient-base:latest

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/bin" "$context/lib/node_modules"
cp "$("$root/bin/node" -p process.execPath)" "$context/bin/node"
npm=$(npm prefix --global --loglevel=error)/lib/node_modules/npm
cp -R "$npm" "$context/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$context/bin/npm"
cp /etc/ssl/certs/ca-certificates.crt "$context/authorities.crt"
cat >"$context/Dockerfile" <<'END'
FROM ambient-base:latest
COPY bin/ /usr/local/bin/
COPY lib/ /usr/local/lib/
COPY authorities.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
END
docker build --quiet --tag "$image" "$context"
