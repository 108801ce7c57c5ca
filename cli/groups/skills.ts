// `ambient skills`: what runs can be started with. Its code is loaded when it is called.
import { type Command, Option } from 'commander'
import type { SkillsOptions } from '../commands/skills.ts'
import { json } from '../options.ts'

export function addSkills(program: Command, exit: (code: number) => void): void {
  program
    .command('skills')
    .summary('list the skills that runs can be started with')
    .description(
      'List the skills in the repositories of the stored environments. `ambient run --skill <name>` works by one.',
    )
    .option('--repo <owner/repo>', 'only those of this repository')
    .option('--refresh', 'have the repositories read again first')
    .addOption(
      new Option('--sort <order>', 'by name, or the one that was used last first').choices(['name', 'last_run']),
    )
    .option('--malformed', 'with those that cannot be used, and why')
    .addOption(json('the skills as the API serves them'))
    .addHelpText('after', examples)
    .action(async (options: SkillsOptions) => exit(await (await import('../commands/skills.ts')).skills(options)))
}

const examples = `
Examples:
  ambient skills --refresh
  ambient run --skill deploy "to staging" --environment my-app
  ambient run --skill you/project:.claude/skills/deploy/SKILL.md`
