import { BackendClosedError, DatabaseError, ResultBackendError, SchemaError } from "../errors";
import { type ErrorOrigin, isTransientState, sqlStateOf, sqlStates } from "./sql-states";
import { isTlsRefusal } from "./tls-errors";
import { isAggregateError, isError } from "../value/foreign";

/** What an error is made of ours with. */
export interface ErrorContext {
  /** What was tried, for the message: "store results". */
  readonly purpose: string;
  readonly schema: string;
  /** Default: as far as the error alone tells. */
  readonly origin?: ErrorOrigin | undefined;
  /** Whether the application is ending the pool. */
  readonly isPoolEnding: boolean;
}

/** Makes any error of the driver or the server one of ours. */
export function toBackendError(error: unknown, context: ErrorContext): ResultBackendError {
  if (error instanceof ResultBackendError) return error;
  const { purpose, schema, isPoolEnding } = context;
  const sqlState = sqlStateOf(error);
  const origin = context.origin ?? likelyOrigin(error);
  if (sqlState === undefined && isPoolEnding) return new BackendClosedError({ cause: error });
  if (sqlState !== undefined && origin === "statement" && schemaStates.has(sqlState) && !isRaisedByOthers(error))
    return new SchemaError(schema, "missing", notMigratedMessage(schema, describe(error)), { cause: error });
  const message = `Could not ${purpose}: ${describe(error)}${placeOf(error)}`;
  return new DatabaseError(message, sqlState, isTransientError(error, origin), { cause: error, origin });
}

/**
 * Where the error of a query came from. Servers translate the word for the severity (`lc_messages`), and the driver drops the field that they do not translate: at a word
 * that is not known, `probe` tells by an answer of any kind whether the session is still there.
 */
export async function originOf(error: unknown, probe: () => Promise<unknown>): Promise<ErrorOrigin> {
  const known = knownOrigin(error instanceof ResultBackendError ? error.cause : error);
  return (
    known ??
    probe().then(
      () => "statement",
      () => "session",
    )
  );
}

/** The same without asking. */
const likelyOrigin = (error: unknown): ErrorOrigin => knownOrigin(error) ?? "statement";

function knownOrigin(error: unknown): ErrorOrigin | undefined {
  if (error === undefined) return undefined;
  if (sqlStateOf(error) === undefined) return "session";
  const { severity } = error as { severity?: unknown };
  if (severity === "ERROR") return "statement";
  return severity === "FATAL" || severity === "PANIC" ? "session" : undefined;
}

/** Whether the same call may succeed later. Decided by where the error came from; by its code only where the server refused one statement. */
function isTransientError(error: unknown, origin: ErrorOrigin): boolean {
  const sqlState = sqlStateOf(error);
  if (sqlState !== undefined) return origin !== "statement" || isTransientState(sqlState) || isStalePlan(error);
  return origin === "connecting" ? !isTlsRefusal(error) && !isNodeRefusal(error) : !isDriverRefusal(error);
}

/** Thrown by the driver, or by what an application has put around it, for what it cannot use. `fetch` throws such errors with a cause where the network is down. */
const isDriverRefusal = (error: unknown): boolean =>
  isError(error) && (error.name === "TypeError" || error.name === "RangeError") && error.cause === undefined;

/** Thrown by Node for arguments that it cannot use, such as a port of 70 000. */
const isNodeRefusal = (error: unknown): boolean =>
  isDriverRefusal(error) && String((error as { code?: unknown }).code).startsWith("ERR_");

/**
 * Whether a statement was refused for what is in it or in a row that it met, so that a part of it may succeed. Not for want of a table or of a privilege, unless a function,
 * such as that of a trigger or a policy, lacks them.
 */
export function isRowRefusal(error: unknown): error is DatabaseError {
  if (!(error instanceof DatabaseError) || error.transient || error.origin !== "statement") return false;
  return !/^(42|3F|0A)/.test(error.sqlState ?? "") || contextOf(error.cause) !== undefined;
}

/** Characters of an id that the database cannot hold: by no later read will it be found. */
const encodingStates: ReadonlySet<string> = new Set(["22021", "22P05"]);

/**
 * Whether a read that failed may succeed later though it is the same: not if the server refuses the statement itself, as it does where a table or a privilege is missing (class 42). What a
 * function of a policy or a view raises for a row may pass with the row.
 */
export function mayPass(error: unknown): error is DatabaseError {
  if (!(error instanceof DatabaseError)) return false;
  const { transient, sqlState } = error;
  return transient || (sqlState !== undefined && !sqlState.startsWith("42") && !encodingStates.has(sqlState));
}

/** "cached plan must not change result type", known by the function of the server that says so; this code has many other causes. */
const isStalePlan = (error: unknown): boolean =>
  sqlStateOf(error) === sqlStates.featureNotSupported &&
  (error as { routine?: unknown }).routine === "RevalidateCachedQuery";

const schemaStates: ReadonlySet<string> = new Set([
  sqlStates.undefinedTable,
  sqlStates.undefinedColumn,
  sqlStates.undefinedFunction,
  sqlStates.invalidSchemaName,
]);

/** `missing`: what the server says of it. */
export function notMigratedMessage(schema: string, missing?: string): string {
  const detail = missing === undefined ? "" : ` (${missing})`;
  return `Schema "${schema}" has not been migrated to this version of kojin-postgres${detail}: call backend.migrate() once, or run it at deployment.`;
}

/** Where in functions an error was raised, the innermost first (`where`); undefined if in none. Servers translate the words. */
function contextOf(error: unknown): string | undefined {
  const { where } = error as { where?: unknown };
  return typeof where === "string" && where !== "" ? where : undefined;
}

/**
 * A line of a context that names a function of PL/pgSQL. Each of PostgreSQL's translations keeps that word. The text of
 * a statement, which a context may hold as well, looks much the same: `operator(pg_catalog.>=) 0`.
 */
const plpgsqlFrame = /^(?=.*PL\/pgSQL).*?([\w$]+)"?\([^()]*\)/m;

/** Whether a function raised an error that is none of this package's, such as that of a trigger or a policy of the application's: to migrate would not help. */
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

/** The message of an error. An AggregateError, which is what Node gives when a name has several addresses, has an empty one of its own. */
export function describe(error: unknown): string {
  if (isAggregateError(error) && error.message === "") return error.errors.map(describe).join("; ");
  return isError(error) ? error.message : String(error);
}
