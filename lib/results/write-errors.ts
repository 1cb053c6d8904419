import { DatabaseError as DriverError } from "pg";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";

/** Columns of kojin_store_each and kojin_finish_each that tell how a row failed. */
export const failureColumns =
  "state, message, detail, hint, context, schema_name, table_name, column_name, type_name, constraint_name";

export type FailureColumns = [
  state: string | null,
  message: string,
  detail: string,
  hint: string,
  context: string,
  schema: string,
  table: string,
  column: string,
  dataType: string,
  constraint: string,
];

/** The error of one row, as the driver would have given it for a statement with that row alone. */
export function toDriverError(columns: FailureColumns): DriverError {
  const [state, message, ...rest] = columns;
  const [detail, hint, where, schema, table, column, dataType, constraint] = rest.map((text) =>
    text === "" ? undefined : text,
  );
  const error = new DriverError(message, message.length, "error");
  const code = state ?? undefined;
  return Object.assign(error, {
    severity: "ERROR",
    code,
    detail,
    hint,
    where,
    schema,
    table,
    column,
    dataType,
    constraint,
  });
}

/** States that are transient, and yet concern rows rather than the session, so that other rows may fare better. */
const rowStates: ReadonlySet<string> = new Set([
  sqlStates.lockNotAvailable,
  sqlStates.serializationFailure,
  sqlStates.deadlockDetected,
  sqlStates.queryCanceled,
  sqlStates.lateStatement,
]);

/** Whether the server refused a statement for what is in it, so that it may take some of its rows. */
export function isStatementError(error: unknown): boolean {
  if (error instanceof SchemaError) return true;
  if (!(error instanceof DatabaseError) || error.origin !== "statement" || error.sqlState === undefined) return false;
  return !error.transient || rowStates.has(error.sqlState);
}

/** Whether a statement that calls one of our functions failed for the function itself, and so for every row. */
export function isWholeSchemaError(error: unknown): boolean {
  return (
    error instanceof SchemaError ||
    (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege)
  );
}

/** Whether the next attempt may reach another server, with another clock. Waiting in vain for a connection of the pool says nothing about that. */
export function mayReachAnotherServer(error: unknown): boolean {
  if (!(error instanceof DatabaseError) || isStatementError(error)) return false;
  return error.origin !== "connecting" || (error.cause as { code?: unknown } | undefined)?.code !== undefined;
}
