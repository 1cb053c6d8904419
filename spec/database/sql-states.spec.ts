import { DatabaseError as ServerError } from "pg";

import { isTransientState, sqlStateOf, sqlStates } from "../../lib/database/sql-states";

/** An error as the driver makes it of a server's answer. */
function serverError(code: string): ServerError {
  return Object.assign(new ServerError("message", 7, "error"), { severity: "ERROR", code });
}

describe("a statement that was refused may succeed later", () => {
  it.each([
    ["connection_failure", "08006"],
    ["protocol_violation, as PgBouncer says it of a server that it cannot reach", "08P01"],
    ["invalid_cursor_state", "24000"],
    ["read_only_sql_transaction, of a standby", "25006"],
    ["in_failed_sql_transaction, which another user of the session left", "25P02"],
    ["idle_in_transaction_session_timeout", "25P03"],
    ["transaction_timeout", "25P04"],
    ["invalid_sql_statement_name", sqlStates.undefinedStatement],
    ["invalid_password, as a pooler says it", "28P01"],
    ["invalid_cursor_name", "34000"],
    ["savepoint exception", "3B001"],
    ["invalid_catalog_name, as a pooler says it", "3D000"],
    ["serialization_failure", "40001"],
    ["statement_completion_unknown", "40003"],
    ["deadlock_detected", "40P01"],
    ["duplicate_prepared_statement", sqlStates.duplicateStatement],
    ["too_many_connections", "53300"],
    ["disk_full", "53100"],
    ["out_of_memory", "53200"],
    ["object_in_use", "55006"],
    ["lock_not_available", "55P03"],
    ["query_canceled", "57014"],
    ["admin_shutdown", "57P01"],
    ["database_dropped", "57P04"],
    ["io_error", "58030"],
    ["snapshot_too_old", "72000"],
    ["config_file_error", "F0000"],
    ["internal_error", "XX000"],
    ["data_corrupted", "XX001"],
  ])("after %s", (_name, state) => {
    expect(isTransientState(state)).toBe(true);
  });

  it.each([
    ["feature_not_supported", sqlStates.featureNotSupported],
    ["unique_violation", "23505"],
    ["external_routine_exception", "38000"],
    ["insufficient_privilege", sqlStates.insufficientPrivilege],
    ["undefined_table", sqlStates.undefinedTable],
    ["undefined_column", sqlStates.undefinedColumn],
    ["undefined_function", sqlStates.undefinedFunction],
    ["invalid_schema_name", sqlStates.invalidSchemaName],
    ["with_check_option_violation", "44000"],
    ["program_limit_exceeded", sqlStates.programLimitExceeded],
    ["statement_too_complex", sqlStates.statementTooComplex],
    ["object_not_in_prerequisite_state", "55000"],
    ["raise_exception", "P0001"],
    ["a code of the application", "AB123"],
    ["nothing known", ""],
  ])("but not after %s", (_name, state) => {
    expect(isTransientState(state)).toBe(false);
  });
});

describe("the state of an error", () => {
  it("is the code of what a server reported", () => {
    expect(sqlStateOf(serverError("40P01"))).toBe("40P01");
  });

  it.each([
    ["an error of the socket", Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })],
    ["an error of the driver", new Error("Connection terminated unexpectedly")],
    ["an error with a severity and no code", Object.assign(new Error("m"), { severity: "ERROR" })],
    ["an error whose code is a number", Object.assign(new Error("m"), { severity: "ERROR", code: 40001 })],
    ["an object that is no error", { severity: "ERROR", code: "40001" }],
    ["a string", "40001"],
    ["null", null],
    ["undefined", undefined],
  ])("is none for %s", (_what, error) => {
    expect(sqlStateOf(error)).toBeUndefined();
  });
});
