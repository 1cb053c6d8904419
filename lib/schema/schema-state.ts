import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import { type SchemaState, versionTable } from "./migration-files";
import { readTriggers } from "./triggers";

/** What was applied to a schema. Every role that may read its record may ask; where there is none, nothing was. */
export async function readSchemaState(database: Database, schema: string, timeoutMs: number): Promise<SchemaState> {
  const query = { purpose: "look at the schema", text: versionTable(schema).read, values: [] };
  try {
    const [row] = await database.query<[string, string]>(query, timeoutMs);
    return { version: Number(row?.[0]), withoutTriggers: row?.[1] === "1" };
  } catch (error) {
    if (error instanceof SchemaError) return { version: 0, withoutTriggers: false };
    throw error;
  }
}

/**
 * For a schema whose record of versions is lost: members would be counted twice.
 *
 * @throws {@link SchemaError} It has triggers of this package.
 */
export async function assertNoTriggers(database: Database, schema: string, timeoutMs: number): Promise<void> {
  const found = await readTriggers(database, schema, timeoutMs).catch((error: unknown) => {
    // Where not even the catalog knows triggers, there are none.
    if (
      error instanceof SchemaError ||
      (error instanceof DatabaseError && error.sqlState === sqlStates.featureNotSupported)
    )
      return [];
    throw error;
  });
  if (found.some(({ state }) => state !== "missing")) throw triggersError(schema);
}

export function triggersError(schema: string): SchemaError {
  const message = `Schema "${schema}" has triggers, which count for every writer; they are not taken away again. Leave out triggers: false (--no-triggers) to go on with them, or give another schema, and copy the rows.`;
  return new SchemaError(schema, "triggers", message);
}
