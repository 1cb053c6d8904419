import {
  BackendClosedError,
  DatabaseError,
  isAggregateError,
  isError,
  ResultBackendError,
  SchemaError,
} from "../errors";
import { type ErrorOrigin, isTransientState, sqlStateOf, sqlStates } from "./sql-states";

/** Circumstances of an error. */
export interface ErrorContext {
  /** The action that failed, for the message: "store results". */
  readonly purpose: string;
  readonly schema: string;
  /** Default: derived from the error alone. */
  readonly origin?: ErrorOrigin | undefined;
  /** The application is ending the pool. */
  readonly isPoolEnding: boolean;
}

/** Converts any error of the driver or the server to an error of this package. */
export function toBackendError(error: unknown, context: ErrorContext): ResultBackendError {
  if (error instanceof ResultBackendError) return error;
  const { purpose, schema, isPoolEnding } = context;
  const sqlState = sqlStateOf(error);
  const origin = context.origin ?? knownOrigin(error) ?? "statement";
  if (sqlState === undefined && isPoolEnding) return new BackendClosedError({ cause: error });
  if (sqlState !== undefined && origin === "statement" && schemaStates.has(sqlState) && !isRaisedByOthers(error))
    return new SchemaError(schema, "missing", notMigratedMessage(schema, describe(error)), { cause: error });
  const message = `Could not ${purpose}: ${describe(error)}${placeOf(error)}`;
  return new DatabaseError(message, sqlState, isTransientError(error, origin), { cause: error, origin });
}

/**
 * Determines the origin of a query's error. Servers translate the severity (`lc_messages`), and the driver drops the
 * untranslated field. If the severity is unknown, an answer to `probe` shows that the session is still usable.
 */
export async function originOf(error: unknown, probe: () => Promise<unknown>): Promise<ErrorOrigin> {
  const known = knownOrigin(error instanceof ResultBackendError ? error.cause : error);
  if (known !== undefined) return known;
  return probe().then(
    () => "statement",
    () => "session",
  );
}

function knownOrigin(error: unknown): ErrorOrigin | undefined {
  if (error === undefined) return undefined;
  if (sqlStateOf(error) === undefined) return "session";
  const { severity } = error as { severity?: unknown };
  if (severity === "ERROR") return "statement";
  return severity === "FATAL" || severity === "PANIC" ? "session" : undefined;
}

/**
 * Tells whether the same call may succeed later. Decides by the origin of the error, and only for a refused statement
 * by its code.
 */
function isTransientError(error: unknown, origin: ErrorOrigin): boolean {
  const sqlState = sqlStateOf(error);
  if (sqlState !== undefined) return origin !== "statement" || isTransientState(sqlState) || isStalePlan(error);
  return origin === "connecting" ? !isTlsRefusal(error) && !isNodeRefusal(error) : !isDriverRefusal(error);
}

/** Thrown by the driver or a wrapper for arguments. `fetch` throws such errors with a cause if the network is down. */
const isDriverRefusal = (error: unknown): boolean =>
  isError(error) && (error.name === "TypeError" || error.name === "RangeError") && error.cause === undefined;

/** Thrown by Node for arguments that it cannot use, such as a port of 70 000. */
const isNodeRefusal = (error: unknown): boolean =>
  isDriverRefusal(error) && String((error as { code?: unknown }).code).startsWith("ERR_");

/** Codes of a certificate that does not verify (Node docs, "X509 certificate error codes" and `ERR_TLS_CERT_…`). */
const certificateErrors =
  /^(CERT|CRL|DEPTH_ZERO|ERROR_IN|ERR_TLS_CERT|HOSTNAME|INVALID|PATH_LENGTH|SELF_SIGNED|UNABLE_TO)_[A-Z_]+$/;

/** The driver's message, without a code, if a server has no TLS (`Connection.connect` of pg). */
const noTlsMessage = "The server does not support SSL connections";

/** Tells whether TLS itself refused a connection, so that only a change of the configuration helps. */
function isTlsRefusal(error: unknown): boolean {
  if (isAggregateError(error)) return error.errors.length > 0 && error.errors.every(isTlsRefusal);
  if (!isError(error)) return false;
  const { code } = error as { code?: unknown };
  return (typeof code === "string" && certificateErrors.test(code)) || error.message === noTlsMessage;
}

/**
 * Tells whether a statement was refused for its contents or for one of its rows, so that a part of it may succeed. A
 * missing table or privilege does not count, unless it is missing in a function, such as that of a trigger or policy.
 */
export function isRowRefusal(error: unknown): error is DatabaseError {
  if (!(error instanceof DatabaseError) || error.transient || error.origin !== "statement") return false;
  return !/^(42|3F|0A)/.test(error.sqlState ?? "") || contextOf(error.cause) !== undefined;
}

/** Errors for characters of an id that the database cannot hold. No later read can find such an id. */
const encodingStates: ReadonlySet<string> = new Set(["22021", "22P05"]);

/**
 * Tells whether the same read may succeed later. It cannot if the server refuses the statement itself, as for a missing
 * table or privilege (class 42). An error that a policy or a view raises for a row may pass.
 */
export function mayPass(error: unknown): error is DatabaseError {
  if (!(error instanceof DatabaseError)) return false;
  const { transient, sqlState } = error;
  return transient || (sqlState !== undefined && !sqlState.startsWith("42") && !encodingStates.has(sqlState));
}

/** "cached plan must not change result type": this code has many other causes, but only this routine of the server. */
const isStalePlan = (error: unknown): boolean =>
  sqlStateOf(error) === sqlStates.featureNotSupported &&
  (error as { routine?: unknown }).routine === "RevalidateCachedQuery";

const schemaStates: ReadonlySet<string> = new Set([
  sqlStates.undefinedTable,
  sqlStates.undefinedColumn,
  sqlStates.undefinedFunction,
  sqlStates.invalidSchemaName,
]);

/** @param missing - The server's message. */
export function notMigratedMessage(schema: string, missing?: string): string {
  const detail = missing === undefined ? "" : ` (${missing})`;
  return `Schema "${schema}" has not been migrated to this version of kojin-postgres${detail}: call backend.migrate() once, or run it at deployment.`;
}

/**
 * Returns the functions in which an error was raised (`where`), innermost first; undefined if in none. Servers
 * translate the words.
 */
function contextOf(error: unknown): string | undefined {
  const { where } = error as { where?: unknown };
  return typeof where === "string" && where !== "" ? where : undefined;
}

/**
 * A line of a context that names a function of PL/pgSQL, a word that each of PostgreSQL's translations keeps. The text
 * of a statement, which a context may hold as well, looks much the same: `operator(pg_catalog.>=) 0`.
 */
const plpgsqlFrame = /^(?=.*PL\/pgSQL).*?([\w$]+)"?\([^()]*\)/m;

/** Tells whether a function of the application, such as a trigger, raised an error. Migrating would not help then. */
function isRaisedByOthers(error: unknown): boolean {
  const context = contextOf(error);
  if (context === undefined) return false;
  const name = plpgsqlFrame.exec(context)?.[1] ?? context;
  return !name.includes("kojin_");
}

/** Names the function that raised an error, for its message. */
function placeOf(error: unknown): string {
  const lines = sqlStateOf(error) === undefined ? [] : (contextOf(error)?.split("\n") ?? []);
  const place = lines.find((line) => plpgsqlFrame.test(line)) ?? lines[0];
  return place === undefined ? "" : ` (${place})`;
}

/**
 * Returns the message of an error. Node's AggregateError for a name with several addresses has an empty one of its own.
 */
export function describe(error: unknown): string {
  if (isAggregateError(error) && error.message === "") return error.errors.map(describe).join("; ");
  return isError(error) ? error.message : String(error);
}
