/** How the program ends; documented in `--help` and in docs/cli.md. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  timedOut: 4,
  taskFailed: 5,
  unreachable: 6,
  schema: 7,
} as const;

export type ExitCode = number;

export const exitCodesHelp = `
Exit codes:
  0  done, or healthy
  1  something is wrong: unhealthy, or an error that has no code of its own
  2  wrong arguments
  3  there is no such result or group
  4  the time was up
  5  the task failed, or members of the group did
  6  the database cannot be reached
  7  the schema is missing, outdated or newer than this program
  130, 143  ended by SIGINT (Ctrl-C), SIGTERM; "watch", "dashboard" and "relay" then end with 0`;
