/** SQLSTATE codes that decide what is done next (PostgreSQL docs, appendix A). */
export const sqlStates = {
  protocolViolation: "08P01",
  readOnlyTransaction: "25006",
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
  noActiveTransaction: "25P01",
} as const;

const transientStates = new Set([
  sqlStates.readOnlyTransaction, // a standby, or a primary that has been demoted: the next connection may reach the new one
  sqlStates.serializationFailure,
  sqlStates.deadlockDetected,
  sqlStates.lockNotAvailable,
  "57P01", // admin_shutdown
  "57P02", // crash_shutdown
  "57P03", // cannot_connect_now
  "57P05", // idle_session_timeout
  "25P03", // idle_in_transaction_session_timeout
  "25P04", // transaction_timeout
]);
// Connection exception, insufficient resources, system error: the server's state, not the statement's fault.
const transientClasses = new Set(["08", "53", "58"]);

/** Whether the same statement may succeed if it is sent again. */
export function isTransientState(sqlState: string): boolean {
  return (
    sqlState !== sqlStates.protocolViolation &&
    (transientStates.has(sqlState) || transientClasses.has(sqlState.slice(0, 2)))
  );
}

/**
 * Whether a write may have failed for its notification alone: the notification queue of the cluster is full (54000, which has other causes too), or the lock that
 * notifying commits take was not to be had in time (55P03, likewise). The same write without a notification may succeed.
 */
export function isNotificationFault(sqlState: string | undefined): boolean {
  return sqlState === sqlStates.programLimitExceeded || sqlState === sqlStates.lockNotAvailable;
}

/** Whether one row's content is to blame, so that the rest of its batch can be stored without it. */
export function isRowFault(sqlState: string | undefined): boolean {
  if (sqlState === undefined) return false;
  return /^(22|23|54)/.test(sqlState) || sqlState === "21000";
}

/** The SQLSTATE of a server's error; undefined when no server spoke. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("severity" in error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
