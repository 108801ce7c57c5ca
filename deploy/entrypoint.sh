#!/bin/sh
# Starts one part of Ambient in a container: server, gateway, worker or host.
# Any other `ambient` command works too.
set -eu
cd /opt/ambient

# NAME_FILE names a file that holds NAME, as secrets are mounted.
for name in DATABASE_URL AMBIENT_ADMIN_KEY AMBIENT_WORKER_KEY AMBIENT_METRICS_KEY AMBIENT_LINK_KEY ANTHROPIC_API_KEY \
  OPENAI_API_KEY GEMINI_API_KEY AMBIENT_S3_ACCESS_KEY_ID AMBIENT_S3_SECRET_ACCESS_KEY OTEL_EXPORTER_OTLP_HEADERS; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat "$file")
    export "$name=$value"
  fi
done

# The machine's Docker daemon puts the host's Node.js into sandboxes, and knows
# nothing of files in this container: the host runs on a copy in the data
# directory, which has the same path inside and outside.
if [ "${1:-}" = host ]; then
  : "${AMBIENT_DATA:?the host needs a data directory, mounted at the path that it has on the machine}"
  node="$AMBIENT_DATA/bin/node-$(node --version)"
  if [ ! -x "$node" ]; then
    mkdir -p "$AMBIENT_DATA/bin"
    cp "$(command -v node)" "$node.$$"
    mv "$node.$$" "$node"
  fi
  exec "$node" --max-semi-space-size=4 cli/main.ts "$@"
fi
exec bin/node --max-semi-space-size=4 cli/main.ts "$@"
