// Puts the light agent where a host looks for the program of another one.
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toolkitPath } from '../../agents/install.ts'
import { qwen } from '../../agents/qwen.ts'

/** The agent in whose place it stands: one that is started with its model in the environment, and has no peculiarities. */
export const LIGHT_AGENT = qwen.name

/** Its program as the launch of that agent names it, in a directory of agents. */
export async function installLightAgent(directory: string): Promise<void> {
  const toolkit = toolkitPath(qwen, directory)
  const packageDirectory = join(toolkit, 'node_modules', '@qwen-code', 'qwen-code')
  await mkdir(packageDirectory, { recursive: true })
  await writeFile(join(packageDirectory, 'package.json'), JSON.stringify({ type: 'module' }))
  // Node.js strips no types below node_modules.
  await writeFile(join(packageDirectory, 'cli-entry.js'), "import '../../../program.ts'\n")
  await writeFile(join(toolkit, 'package.json'), JSON.stringify({ type: 'module' }))
  await copyFile(new URL('program.ts', import.meta.url), join(toolkit, 'program.ts'))
}
