import { isError } from "../errors";

/** SQLSTATE codes that decide what is done next (PostgreSQL docs, appendix A). */
export const sqlStates = {
  undefinedTable: "42P01",
  undefinedColumn: "42703",
  undefinedFunction: "42883",
  invalidSchemaName: "3F000",
  insufficientPrivilege: "42501",
  programLimitExceeded: "54000",
  statementTooComplex: "54001",
  lockNotAvailable: "55P03",
  undefinedStatement: "26000",
  duplicateStatement: "42P05",
  featureNotSupported: "0A000", // among others: a cached plan must not change its result type
  serializationFailure: "40001",
  deadlockDetected: "40P01",
  uniqueViolation: "23505",
  duplicateTable: "42P07",
  duplicateSchema: "42P06",
  duplicateObject: "42710",
  queryCanceled: "57014",
  lateStatement: "KJ001", // ours: see kojin_late in sql/0001_results.sql
} as const;

/**
 * The origin of an error. `connecting`: before there was a session. `session`: the session ended, or gave no answer.
 * `statement`: the server refused one statement, and the session is still usable.
 */
export type ErrorOrigin = "connecting" | "session" | "statement";

/**
 * Classes of SQLSTATE that concern the session, the server or another transaction, even if they answer a single
 * statement. Poolers report their own errors this way, and some keep the client's connection.
 */
const transientClasses: ReadonlySet<string> = new Set([
  "08", // connection exception
  "24", // invalid cursor state
  "25", // invalid transaction state: also read-only, and a transaction that another user of the session has left behind
  "26", // invalid statement name: a pooler has changed the session
  "28", // invalid authorization
  "34", // invalid cursor name: a pooler has changed the session
  "3B", // savepoint exception
  "3D", // invalid catalog name: the database is being restored or renamed
  "40", // transaction rollback
  "53", // insufficient resources
  "57", // operator intervention: also a statement that was cancelled or took too long
  "58", // system error
  "72", // snapshot too old
  "F0", // configuration file error
  "XX", // internal error
]);
const transientStates: ReadonlySet<string> = new Set([
  sqlStates.duplicateStatement, // a pooler has changed the session
  sqlStates.lockNotAvailable,
  sqlStates.lateStatement,
  "55006", // object_in_use
]);

/** Tells whether a statement that the server refused may succeed if it is sent again. */
export function isTransientState(sqlState: string): boolean {
  return transientStates.has(sqlState) || transientClasses.has(sqlState.slice(0, 2));
}

/**
 * Tells whether a write may have failed only because of its notification: the notification queue of the cluster is full
 * (54000), or the lock of notifying commits was not free in time (55P03). Both codes also have other causes.
 */
export function isNotificationFault(sqlState: string | undefined): boolean {
  return sqlState === sqlStates.programLimitExceeded || sqlState === sqlStates.lockNotAvailable;
}

/** Returns the SQLSTATE of a server's error; undefined if no server answered. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!isError(error) || !("severity" in error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
