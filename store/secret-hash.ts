import { hash } from 'node:crypto'

/** How the database knows a key or a credential: never by the thing itself. All of them are random, so they need no salt. */
export const hashOfSecret = (secret: string): string => hash('sha256', secret)
