/** From where runs are begun: those that official clients know. */
export const runSources = [
  ...(['LINEAR', 'API', 'SLACK', 'LOCAL', 'SCHEDULED_AGENT', 'WEB_APP', 'GITHUB_ACTION', 'CLOUD_MODE'] as const),
  ...(['CLI', 'JIRA', 'SELF_IMPROVEMENT', 'GITHUB_WEBHOOK', 'GITLAB_WEBHOOK', 'AUTOFIX', 'RUN_SCORER'] as const),
  'ORCHESTRATION',
] as const
