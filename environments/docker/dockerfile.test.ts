import { expect, test } from 'vitest'
import { baseImages, readDockerfile, remoteAdd } from './dockerfile.ts'

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
  const { instructions } = readDockerfile(dockerfile)
  expect(baseImages(instructions, {})).toEqual({
    images: ['node:20-slim', 'golang:1'],
    unknown: [`\${REGISTRY}/tool:\${VERSION:-1}`, `\${UNKNOWN}/tool`],
  })
  const args = { REGISTRY: 'example.com:5000', VERSION: '22', UNDECLARED: 'x' }
  expect(baseImages(instructions, args)).toEqual({
    images: ['node:22-slim', 'golang:1', 'example.com:5000/tool:22'],
    unknown: [`\${UNKNOWN}/tool`],
  })
})

test('the daemon is told each instruction on a line of its own, where it begins', () => {
  const { text, instructions } = readDockerfile('# a\nFROM x\n\nRUN a \\\n  # b\n  && b \\\\\n  AD\\\nD c d\nRUN e\\\n')
  expect(text).toBe('\nFROM x\n\nRUN a   && b \\\\\n\n\nADD c d\n\nRUN e\n\n')
  expect(instructions).toEqual(['FROM x', 'RUN a   && b \\\\', 'ADD c d', 'RUN e'])
  expect(readDockerfile('AD\\ \\\r\r\nD http://a b').text).toBe('AD\nD http://a b\n')
  // Only before everything else it says anything.
  expect(readDockerfile('# escape=`\nRUN a `\n b\\\n').text).toBe('# escape=`\nRUN a  b\\\n\n\n')
  expect(readDockerfile('FROM x\n# escape=`\nRUN a `\nADD http://a b').instructions).toEqual([
    ...['FROM x', 'RUN a `', 'ADD http://a b'],
  ])
})

test('what the daemon would fetch from the web by itself is found, however it is written', () => {
  const found = (text: string) => remoteAdd(readDockerfile(text).instructions)
  for (const written of [
    ...['ADD http://169.254.169.254/x /x', 'add --chown=1 a https://a/b /c', 'ONBUILD ADD http://a b'],
    ...[
      'AD\\\nD \\\n# c\nht\\\ntp://a b',
      'ADD "http"://a b',
      'ADD $A/b c',
      `ADD ht\${B}a c`,
      'ADD ["\\u0068ttp://a","b"]',
    ],
    ...['ADD ["\\u0068ttp://a","b"] c', 'ADD ht\\tp://a b', 'RUN a \\\\\nADD http://a b', 'ADD\thttp://a\tb'],
  ])
    expect(found(`FROM x\n${written}`), written).not.toBeNull()
  for (const written of [
    ...[
      `ADD app-\${VERSION}.tar.gz /`,
      'COPY . $HOME',
      'ADD a $B/c',
      'RUN curl http://a',
      'ADD ["a", "b"]',
      '# ADD http://a b',
    ],
    'RUN echo \\\nADD http://a b',
  ])
    expect(found(`FROM x\n${written}`), written).toBeNull()
})
