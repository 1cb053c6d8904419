import { constants } from "node:os";
import {
  DatabaseError,
  GroupFailedError,
  ResultEncodingError,
  SchemaError,
  TaskFailedError,
  WaitTimeoutError,
} from "../errors";
import { type ExitCode, exitCodes } from "./exit-codes";

/** Something in the command line is wrong; the message says what. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly code = "USAGE";
}

/** What the library refuses of what it was given is a mistake in the command line. */
export function asUsage<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError)
      throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

/** The code with which a command ends that failed with `error`. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError || error instanceof ResultEncodingError) return exitCodes.usage;
  if (error instanceof WaitTimeoutError) return exitCodes.timedOut;
  if (error instanceof TaskFailedError || error instanceof GroupFailedError) return exitCodes.taskFailed;
  if (error instanceof SchemaError) return exitCodes.schema;
  if (error instanceof DatabaseError && isUnreachable(error)) return exitCodes.unreachable;
  return exitCodes.failed;
}

/** No server spoke, it is not ready, or it lets us not in: a wrong password (28), no such database (3D). */
function isUnreachable({ sqlState }: DatabaseError): boolean {
  return sqlState === undefined || /^(08|28|3D|53|57P)/.test(sqlState);
}

/** As a shell reports a program that a signal has ended. */
export function exitCodeOfSignal(reason: unknown): ExitCode {
  return 128 + ((constants.signals[reason as NodeJS.Signals] as number | undefined) ?? constants.signals.SIGINT);
}

/** What to do about an error, in the words of this program. */
export function remedyFor(error: unknown, schema: string): string | undefined {
  const option = schema === "public" ? "" : ` --schema ${JSON.stringify(schema)}`;
  const isToBeMigrated = error instanceof SchemaError && (error.reason === "missing" || error.reason === "outdated");
  if (isToBeMigrated) return `Run: kojin-postgres migrate${option}`;
  if (error instanceof DatabaseError && isUnreachable(error)) return "Look at the address: --url, or DATABASE_URL.";
  return undefined;
}
