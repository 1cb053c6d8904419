import { DatabaseError as DriverError } from "pg";
import { isTransient } from "../database/retry";
import { isNotificationFault, sqlStates } from "../database/sql-states";
import {
  BackendClosedError,
  DatabaseError,
  isError,
  ResultBackendError,
  ResultEncodingError,
  SchemaError,
} from "../errors";

/** Columns of kojin_store_each and kojin_finish_each that tell how a row failed, and the driver's names for them. */
const failureFields = {
  state: "code",
  message: "message",
  detail: "detail",
  hint: "hint",
  context: "where",
  schema_name: "schema",
  table_name: "table",
  column_name: "column",
  type_name: "dataType",
  constraint_name: "constraint",
};

export const failureColumns = Object.keys(failureFields).join(", ");

/** The values of those columns; the first is null for a row that was written. */
export type FailureColumns = [state: string | null, message: string, ...others: string[]];

/** Creates the error of one row, as the driver would for a statement with only that row. */
export function toDriverError(columns: FailureColumns): DriverError {
  const [, message] = columns;
  const given = columns.map((text) => (text === "" ? undefined : text));
  const fields = Object.values(failureFields).map((name, index) => [name, given[index]]);
  const error = new DriverError(message, message.length, "error");
  return Object.assign(error, Object.fromEntries(fields) as object, { severity: "ERROR", message });
}

/** Transient SQLSTATEs that concern rows rather than the session, so that other rows may succeed. */
const rowStates: ReadonlySet<string> = new Set([
  sqlStates.lockNotAvailable,
  sqlStates.serializationFailure,
  sqlStates.deadlockDetected,
  sqlStates.queryCanceled,
  sqlStates.lateStatement,
]);

/** Tells whether the server refused a statement because of its contents, so that some of its rows may succeed. */
export function isStatementError(error: unknown): boolean {
  if (error instanceof SchemaError) return true;
  if (!(error instanceof DatabaseError) || error.origin !== "statement" || error.sqlState === undefined) return false;
  return !error.transient || rowStates.has(error.sqlState);
}

/**
 * Tells whether a statement that calls one of our functions failed because of the function itself, and so for every
 * row.
 */
export function isWholeSchemaError(error: unknown): boolean {
  return (
    error instanceof SchemaError ||
    (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege)
  );
}

export const isLocked = (error: unknown): error is DatabaseError =>
  error instanceof DatabaseError && error.sqlState === sqlStates.lockNotAvailable;

/** Tells whether the same rows, or some of them, may succeed in another statement. */
export function mayRetry(error: unknown, rows: number, attempts: number): boolean {
  if (!(error instanceof ResultBackendError) || error instanceof BackendClosedError) return false;
  if (isTransient(error) || (rows > 1 && isStatementError(error))) return true;
  return attempts === 1 && error instanceof DatabaseError && isNotificationFault(error.sqlState);
}

/**
 * Tells whether the next attempt may reach another server, with another clock. A timeout while waiting for a connection
 * of the pool does not mean that.
 */
export function mayReachAnotherServer(error: unknown): boolean {
  if (!(error instanceof DatabaseError) || isStatementError(error)) return false;
  return error.origin !== "connecting" || (error.cause as { code?: unknown } | undefined)?.code !== undefined;
}

const encodingStates: ReadonlySet<string | undefined> = new Set([
  "22P02", // invalid_text_representation
  "22P05", // untranslatable_character
  "22003", // numeric_value_out_of_range
  sqlStates.programLimitExceeded,
  sqlStates.statementTooComplex,
]);

/**
 * Converts errors for values that jsonb cannot hold for reasons not checked here: depth, number of keys, or the
 * server's encoding.
 */
export function encodingError(error: unknown, taskId: string): unknown {
  if (!(error instanceof DatabaseError) || !encodingStates.has(error.sqlState)) return error;
  const reason = isError(error.cause) ? error.cause.message : error.message;
  return new ResultEncodingError(taskId, `Postgres cannot hold it as jsonb (${reason})`, { cause: error });
}
