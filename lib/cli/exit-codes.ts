import { constants } from "node:os";
import {
  DatabaseError,
  GroupFailedError,
  ResultEncodingError,
  SchemaError,
  TaskFailedError,
  WaitTimeoutError,
} from "../errors";

/** The exit codes of the program, documented in `--help` and in docs/cli.md. */
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
  0  success, or healthy
  1  unhealthy, or an error without a code of its own
  2  wrong arguments
  3  no such result, task or group
  4  timed out
  5  the task failed, or members of the group failed
  6  the database cannot be reached
  7  the schema is missing, outdated, or newer than this program
  130, 143  ended by SIGINT (Ctrl-C) or SIGTERM; watch, dashboard and relay exit with 0 instead`;

/** A mistake in the command line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly code = "USAGE";
}

/** Runs `make`, and turns an argument that the library rejects into a {@link UsageError}. */
export async function asUsage<T>(make: () => T | Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError)
      throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/** Returns the exit code of a command that failed with `error`. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError || error instanceof ResultEncodingError) return exitCodes.usage;
  if (error instanceof WaitTimeoutError) return exitCodes.timedOut;
  if (error instanceof TaskFailedError || error instanceof GroupFailedError) return exitCodes.taskFailed;
  if (error instanceof SchemaError) return exitCodes.schema;
  if (isUnreachable(error)) return exitCodes.unreachable;
  return exitCodes.failed;
}

/** Returns the exit code of a program that a signal has ended, as shells report it. */
export function exitCodeOfSignal(reason: unknown): ExitCode {
  return 128 + ((constants.signals[reason as NodeJS.Signals] as number | undefined) ?? constants.signals.SIGINT);
}

/** Returns what the user can do about an error. */
export function remedyFor(error: unknown, schema: string): string | undefined {
  if (error instanceof SchemaError && error.reason !== "newer") {
    const option = schema === "public" ? "" : ` --schema ${JSON.stringify(schema)}`;
    return `Run: kojin-postgres migrate${option}`;
  }
  return isUnreachable(error) ? "Check the address in --url or DATABASE_URL." : undefined;
}

/** No server answered, it is not ready, or it refused the login: a wrong password (28), no such database (3D). */
function isUnreachable(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return false;
  return error.sqlState === undefined || /^(08|28|3D|53|57P)/.test(error.sqlState);
}

/** Formats an error as `--json` prints it. */
export function failureLine(error: unknown, message: string, remedy?: string): string {
  const { name, code } = error as { name?: unknown; code?: unknown };
  return `${JSON.stringify({ error: { name, code, message, remedy, exitCode: exitCodeOf(error) } })}\n`;
}
