import { execFile } from "node:child_process";
import { promisify } from "node:util";

import type { Account } from "./unprivileged";

/** How to run one of the programs of Postgres. */
export interface CommandOptions {
  /** Runs as this account; the caller has to be root. */
  readonly account?: Account | undefined;
  /** Working folder; the account must be able to enter it, since Postgres asks where it is. */
  readonly cwd: string;
  /** Ends the program and rejects when aborted. */
  readonly deadline: AbortSignal;
  /** Told the process id as soon as the program runs. */
  readonly onStart?: (processId: number) => void;
}

/** Resolves with the standard output of a program, and rejects with what it wrote to standard error. */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { account, cwd, deadline, onStart } = options;
  const identity = identityOf(account);
  const running = execute(file, args, {
    cwd,
    signal: deadline,
    env: serverEnvironment(),
    windowsHide: true,
    ...identity,
  });
  if (running.child.pid !== undefined) onStart?.(running.child.pid);
  return (await running).stdout;
}

/** The spawn options that make a process run as `account`. */
export function identityOf(account: Account | undefined): { uid?: number; gid?: number } {
  // As signed numbers, which `spawn` insists on: on macOS the uid of `nobody` is 4294967294.
  return account ? { uid: account.uid | 0, gid: account.gid | 0 } : {};
}

/**
 * The environment for the programs of Postgres: without PGPORT, PGDATA and the like, which are meant for the user's own
 * server and would change this one; and with the C locale, which every machine has.
 */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
  return { ...Object.fromEntries(kept), LC_ALL: "C" };
}

const execute = promisify(execFile);
