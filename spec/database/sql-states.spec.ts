import { DatabaseError as ServerError } from "pg";

import { isRowFault, isTransientState, sqlStateOf, sqlStates } from "../../lib/database/sql-states";

/** An error as the driver makes it of a server's answer. */
function serverError(code: string): ServerError {
  return Object.assign(new ServerError("message", 7, "error"), { severity: "ERROR", code });
}

describe("a transient state", () => {
  it.each([
    ["connection_failure", "08006"],
    ["connection_does_not_exist", "08003"],
    ["sqlserver_rejected_establishment_of_sqlconnection", "08004"],
    ["read_only_sql_transaction, of a standby", "25006"],
    ["idle_in_transaction_session_timeout", "25P03"],
    ["transaction_timeout", "25P04"],
    ["serialization_failure", "40001"],
    ["deadlock_detected", "40P01"],
    ["too_many_connections", "53300"],
    ["disk_full", "53100"],
    ["out_of_memory", "53200"],
    ["lock_not_available", "55P03"],
    ["admin_shutdown", "57P01"],
    ["crash_shutdown", "57P02"],
    ["cannot_connect_now", "57P03"],
    ["idle_session_timeout", "57P05"],
    ["io_error", "58030"],
  ])("is %s", (_name, state) => {
    expect(isTransientState(state)).toBe(true);
  });

  it.each([
    ["protocol_violation, though of the class of connections", sqlStates.protocolViolation],
    ["unique_violation", "23505"],
    ["invalid_password", "28P01"],
    ["invalid_catalog_name", "3D000"],
    ["in_failed_sql_transaction", "25P02"],
    ["insufficient_privilege", sqlStates.insufficientPrivilege],
    ["undefined_table", sqlStates.undefinedTable],
    ["undefined_column", sqlStates.undefinedColumn],
    ["undefined_function", sqlStates.undefinedFunction],
    ["invalid_schema_name", sqlStates.invalidSchemaName],
    ["program_limit_exceeded", sqlStates.programLimitExceeded],
    ["statement_too_complex", sqlStates.statementTooComplex],
    ["database_dropped", "57P04"],
    ["query_canceled", "57014"],
    ["internal_error", "XX000"],
    ["nothing known", ""],
  ])("is not %s", (_name, state) => {
    expect(isTransientState(state)).toBe(false);
  });
});

describe("a fault of one row", () => {
  it.each([
    ["character_not_in_repertoire", "22021"],
    ["untranslatable_character", "22P05"],
    ["invalid_text_representation", "22P02"],
    ["datetime_field_overflow", "22008"],
    ["not_null_violation", "23502"],
    ["check_violation", "23514"],
    ["cardinality_violation", "21000"],
    ["program_limit_exceeded", sqlStates.programLimitExceeded],
    ["statement_too_complex", sqlStates.statementTooComplex],
  ])("is %s", (_name, state) => {
    expect(isRowFault(state)).toBe(true);
    expect(isTransientState(state)).toBe(false);
  });

  it.each([
    ["no answer of a server", undefined],
    ["nothing known", ""],
    ["undefined_table", sqlStates.undefinedTable],
    ["insufficient_privilege", sqlStates.insufficientPrivilege],
    ["deadlock_detected", "40P01"],
    ["too_many_connections", "53300"],
    ["admin_shutdown", "57P01"],
    ["a code with 22 further on", "42201"],
  ])("is not %s", (_name, state) => {
    expect(isRowFault(state)).toBe(false);
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
