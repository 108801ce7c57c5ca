import { z } from 'zod'
import { ConversationRedirect, SessionRedirect } from '../../domain/redirect.ts'
import { SessionAnswer, SessionList, SignIn, SignOut } from '../../domain/session.ts'
import { SharedRun } from '../../domain/share-link.ts'
import { json, nothing, type Section } from './declaration.ts'
import { createdAt, environmentUid, run, runId } from './examples.ts'

const page = (description: string) => ({
  description,
  content: { 'text/html': { schema: z.string(), example: '<!doctype html>…' } },
})

const session = {
  signed_in: true,
  session: {
    uid: environmentUid,
    type: 'user',
    person_uid: environmentUid,
    display_name: 'Sam',
    email: 'sam@example.com',
    scope: 'admin',
    expires_at: createdAt,
    csrf_token: 'GpXt2gNjKY8bPqkFJ3nK7sH2xw0aTzYVd1cRlQ9mE4o',
  },
  methods: { key: true, oidc: { provider: 'accounts.example.com', url: '/auth/login?with=oidc' } },
}

export const signIn: Section = {
  name: 'Signing in',
  description:
    'For browsers. A session is a cookie; whatever changes something needs the header `X-Ambient-CSRF` beside it, and comes from a page of the server’s own origin.',
  routes: [
    {
      method: 'get',
      root: true,
      open: true,
      path: '/',
      id: 'openServer',
      summary: 'To the page where people sign in',
      answers: { 302: nothing('There.') },
    },
    {
      method: 'get',
      root: true,
      open: true,
      path: '/auth/login',
      id: 'showSignIn',
      summary: 'The page where people sign in',
      query: z.object({
        with: z.literal('oidc').optional().describe('Go to the provider of identities at once.'),
        return_to: z.string().optional().describe('Path of this server to go to then.'),
      }),
      answers: { 200: page('The page.'), 302: nothing('To the provider.') },
      errors: { 404: 'There is no provider.', 429: 'Too many sign-ins from this address have failed.' },
    },
    {
      method: 'post',
      root: true,
      open: true,
      path: '/auth/login',
      id: 'signIn',
      summary: 'Sign in with a key',
      description: 'As JSON, or as the form of the page sends it.',
      body: { schema: SignIn, example: { key: 'wk-…' } },
      answers: { 200: json(SessionAnswer, session), 303: nothing('To where the form said.') },
      errors: {
        401: 'The key is not valid.',
        403: 'The key is that of a service account, or the request came from a page of another origin.',
        429: 'Too many sign-ins from this address have failed.',
      },
    },
    {
      method: 'get',
      root: true,
      open: true,
      path: '/auth/callback',
      id: 'finishSignIn',
      summary: 'Where the provider of identities sends people back to',
      answers: { 303: nothing('Signed in, and on to where the sign-in was begun.') },
      errors: {
        400: 'What came back does not prove who it is, or belongs to no sign-in of this browser.',
        403: 'The provider let nobody in, or whom it let in may not sign in here.',
        429: 'Too many sign-ins from this address have failed.',
      },
    },
    {
      method: 'get',
      root: true,
      open: true,
      path: '/auth/session',
      id: 'getSession',
      summary: 'Who the browser is signed in as',
      answers: { 200: json(SessionAnswer, session) },
    },
    {
      method: 'post',
      root: true,
      open: true,
      path: '/auth/logout',
      id: 'signOut',
      summary: 'Sign out, here or everywhere',
      body: { schema: SignOut, example: { everywhere: true }, optional: true },
      answers: { 204: nothing('Signed out.'), 303: nothing('The same, of a form.') },
      errors: { 403: 'The CSRF token is missing, or the request came from a page of another origin.' },
    },
    {
      method: 'get',
      root: true,
      path: '/auth/sessions',
      id: 'listSessions',
      summary: 'List one’s own sessions',
      answers: {
        200: json(SessionList, {
          sessions: [
            {
              uid: environmentUid,
              current: true,
              address: '192.0.2.7',
              user_agent: 'Mozilla/5.0',
              created_at: createdAt,
              last_used_at: createdAt,
              expires_at: createdAt,
            },
          ],
        }),
      },
    },
    {
      method: 'delete',
      root: true,
      path: '/auth/sessions/{sessionUid}',
      id: 'endSession',
      summary: 'End one of one’s own sessions',
      answers: { 204: nothing('It is over at once.') },
    },
    {
      method: 'get',
      root: true,
      open: true,
      path: '/r/{token}',
      id: 'openSharedRun',
      summary: 'A run that is shared by link',
      description:
        'With `Accept: application/json`; browsers get a page. The same token lets requests of the API at this run, as the header `X-Ambient-Share` or the parameter `share`.',
      params: { token: 'Of the link.' },
      answers: {
        200: {
          ...json(SharedRun, {
            level: 'view',
            run,
            urls: { run: `/api/v1/agent/runs/${runId}`, events: `/api/v1/agent/runs/${runId}/events` },
          }),
        },
        302: nothing('A browser that has to sign in first, to where it does.'),
      },
      errors: {
        401: 'The link is good only for somebody who has signed in.',
        403: 'The key that came with it is in no team.',
        429: 'Too many links that open nothing came from this address.',
      },
    },
    {
      method: 'get',
      open: true,
      path: '/agent/conversations/{conversationId}/redirect',
      id: 'findLiveSession',
      summary: 'The live session of a conversation',
      description: 'A session is the run that is at work. Always 200, also for an id that there is not.',
      answers: { 200: json(ConversationRedirect, { session_id: runId }) },
    },
    {
      method: 'get',
      open: true,
      path: '/agent/sessions/{sessionUuid}/redirect',
      id: 'findConversationOfSession',
      summary: 'The conversation that a session was of',
      description: 'Always 200, also for an id that there is not.',
      answers: { 200: json(SessionRedirect, { conversation_id: runId }) },
    },
  ],
}
