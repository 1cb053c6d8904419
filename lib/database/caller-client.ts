import type { QueryResultRow } from "pg";
import type { SqlClient } from "../result-backend";
import { typeName } from "../value/arguments";

/**
 * Deadline of a statement in the caller's transaction, in seconds since 1970. Text, since some libraries pass values as
 * JSON, which has no such number.
 */
export const noDeadline = "Infinity";

/**
 * Runs a statement on the caller's client and returns its rows.
 *
 * @throws TypeError It is not a client of a transaction. Nothing was sent.
 */
export function askCaller(client: SqlClient, text: string, values: readonly unknown[]): Promise<QueryResultRow[]> {
  checkClient(client);
  return ask(client, text, values.map(toPlainValue));
}

async function ask(client: SqlClient, text: string, values: unknown[]): Promise<QueryResultRow[]> {
  return (await client.query(text, values)).rows;
}

function checkClient(client: unknown): void {
  const isClient = typeof client === "object" && client !== null && "query" in client;
  // A pool would use any of its connections, outside the transaction. A query runner of TypeORM returns rows in another
  // form.
  const other = isClient && ("totalCount" in client ? "a pool" : "isTransactionActive" in client && "a query runner");
  if (isClient && typeof client.query === "function" && !other) return;
  throw new TypeError(
    `client: expected a client of pg, or the result of a function of kojin-postgres/clients, got ${other || typeName(client)}.`,
  );
}

/** Writes an array as text: libraries other than `pg` have their own ideas of arrays. */
function toPlainValue(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const quoted = value.map((item) => `"${String(item).replace(/["\\]/g, "\\$&")}"`);
  return `{${quoted.join(",")}}`;
}
