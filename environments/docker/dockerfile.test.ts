import { expect, test } from 'vitest'
import { baseImages } from './dockerfile.ts'

test('the images of all stages are found, with their arguments, and stages are not taken for images', () => {
  const dockerfile = `
    # syntax=docker/dockerfile:1
    ARG VERSION=20
    ARG REGISTRY
    ARG TAG="\${VERSION}-slim"
    FROM --platform=linux/amd64 node:$TAG AS base
    RUN echo FROM nothing \\
      # in between
      && FROM=x true
    FROM base as next
    COPY --from=golang:1 --chown=1 /usr/local/go /go
    COPY --from=base /a /a
    COPY --from=0 /a /a
    FROM \${REGISTRY}/tool:\${VERSION:-1}
    FROM \${UNKNOWN}/tool
    FROM scratch
  `
  expect(baseImages(dockerfile, {})).toEqual(['node:20-slim', 'golang:1'])
  const args = { REGISTRY: 'example.com:5000', VERSION: '22', UNDECLARED: 'x' }
  expect(baseImages(dockerfile, args)).toEqual(['node:22-slim', 'golang:1', 'example.com:5000/tool:22'])
})
