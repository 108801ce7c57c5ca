// `ambient vault`: under which keys secret values are sealed. For whoever has the admin key.
import { lockedWords, type VaultState } from '../../domain/vault/vault-state.ts'
import { connect } from '../connect.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { createScreen } from '../screen.ts'

export async function vault({ json }: { json?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const state = await connect().secrets.vault()
  screen.write(json ? `${JSON.stringify(state)}\n` : renderVault(state))
  return state.trouble === null && lockedWords(state) === null ? exitCodes.succeeded : exitCodes.failed
}

export async function rotate({ json, newKey = false }: { json?: boolean; newKey?: boolean }): Promise<ExitCode> {
  const screen = createScreen()
  const state = await connect().secrets.rotate({ new_key: newKey })
  screen.write(
    json
      ? `${JSON.stringify(state)}\n`
      : `${state.rewrapped} values were brought under the newest key.\n${renderVault(state)}`,
  )
  return exitCodes.succeeded
}

export function renderVault({ source, trouble, keys, sealed, plain }: VaultState): string {
  const count = (key: string) => sealed.find((each) => each.key === key)?.values ?? 0
  const lines = keys.map((key, index) => {
    const values = count(key)
    const role = index === 0 ? 'seals' : values === 0 ? 'may go' : 'opens'
    return `  ${key}  ${role}, ${values} values\n`
  })
  const locked = lockedWords({ sealed, source })
  return [
    `Keys: ${source}\n`,
    trouble === null ? '' : `! ${trouble}\n`,
    ...lines,
    locked === null ? '' : `! ${locked}\n`,
    plain === 0 ? '' : `! ${plain} environments have values in plain text: rotate seals them.\n`,
  ].join('')
}
