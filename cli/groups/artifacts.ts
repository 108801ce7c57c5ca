// `ambient artifacts` and what is below it: the commands and their options. Each loads its own code when it is called.
import type { Command } from 'commander'
import type { ArtifactOptions } from '../commands/artifacts.ts'
import { json, RUN } from '../options.ts'

export function addArtifacts(program: Command, exit: (code: number) => void): void {
  const load = () => import('../commands/artifacts.ts')
  const artifacts = program
    .command('artifacts')
    .summary('list what a run has handed over, and fetch it')
    .description('Plans, files, screenshots, pull requests and links that runs have handed over.')
  artifacts
    .command('list')
    .description('List what a run has handed over.')
    .argument('<id>', RUN)
    .addOption(json('the artifacts as the API serves them'))
    .action(async (id: string, options: { json?: boolean }) => exit(await (await load()).artifacts(id, options)))
  artifacts
    .command('get')
    .description('Print the content of an artifact, or write it to a file. Of a link, its address is printed.')
    .argument('<uid>', 'uid of the artifact')
    .option('-o, --output <path>', 'file to write it to')
    .addOption(json('the artifact as the API serves it, without its content unless it is a plan'))
    .action(async (uid: string, options: ArtifactOptions) => exit(await (await load()).artifact(uid, options)))
}
