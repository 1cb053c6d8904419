import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { describeHolders, readSnapshotHolders } from "./lock-holders";
import type { MigrationLock } from "./migration-lock";
import { concurrently, type IndexStep } from "./migration-steps";
import { escapeIdentifier } from "pg";

/** From this size on an index is built concurrently. A plain build of a smaller table blocks its writers for some 100 ms. */
const largeTableBytes = 32 * 1024 * 1024;
// A concurrent build takes its time on a table of any size, and waits for each transaction that was open when it began.
const buildTimeoutMs = 6 * 3_600_000;
const maxAttempts = 6;
/** How often to report the transactions that a build may be waiting for. */
const lookIntervalMs = 2_000;

type IndexState = "built" | "large";

/** Makes sure that an index is there and valid. Writers go on: the index of a large table is built concurrently. */
export async function buildIndex(
  database: Database,
  lock: MigrationLock,
  schema: string,
  step: IndexStep,
  onWait: (waitingFor: string) => void,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const state = await lock.run(async (client) => buildIfSmall(client, schema, step));
    if (state === "built") return;
    // On another connection, if the pool has one.
    const look = async (): Promise<void> => {
      const holders = await readSnapshotHolders(database).catch(() => []);
      if (holders.length > 0) onWait(describeHolders(holders));
    };
    const timer = setInterval(() => void look(), lookIntervalMs).unref();
    try {
      await database.session("build an index", buildTimeoutMs, async (client) => {
        // Not local: the statement cannot run in a transaction. It blocks no writer, so its own waits need no limit.
        const limits = await readTimeLimits(client);
        for (const limit of limits) await client.query(`set ${limit} = 0`, []);
        await client.query(concurrently(step), []);
        for (const limit of limits) await client.query(`reset ${limit}`, []);
      });
    } catch (error) {
      // Another process builds the same index: the server ends one of the two.
      if (!isWorthAnotherAttempt(error) || attempt === maxAttempts) throw error;
    } finally {
      clearInterval(timer);
    }
  }
}

/** The settings that would end the build. `transaction_timeout` exists since version 17. */
async function readTimeLimits(client: SqlClient): Promise<readonly string[]> {
  const names = ["statement_timeout", "lock_timeout", "transaction_timeout"];
  const { rows } = await client.query(
    `select name from pg_catalog.unnest($1::pg_catalog.text[]) as setting (name)
     where pg_catalog.current_setting(name, true) is not null`,
    [names],
  );
  return rows.map((row) => String(row["name"]));
}

/** Builds the index of a small table, and drops what an interrupted concurrent build has left of it. */
async function buildIfSmall(client: SqlClient, schema: string, step: IndexStep): Promise<IndexState> {
  const found = await readIndex(client, schema, step);
  if (found.isValid === "yes") return "built";
  const table = `${escapeIdentifier(schema)}.${escapeIdentifier(step.table)}`;
  if (found.isValid === "no") {
    // Waits for a build that is under way, and lets none begin; writers go on meanwhile.
    await client.query(`lock table ${table} in share update exclusive mode`, []);
    const again = await readIndex(client, schema, step);
    if (again.isValid === "yes") return "built";
    await client.query(`drop index if exists ${escapeIdentifier(schema)}.${escapeIdentifier(step.index)}`, []);
  }
  if (found.tableBytes >= largeTableBytes) return "large";
  await client.query(step.sql, []);
  return "built";
}

async function readIndex(
  client: SqlClient,
  schema: string,
  { index, table }: IndexStep,
): Promise<{ isValid: "yes" | "no" | "missing"; tableBytes: number }> {
  const { rows } = await client.query(
    `select pg_catalog.pg_relation_size(relation.oid)::pg_catalog.text as bytes, (
       select case when state.indisvalid then 'yes' else 'no' end
       from pg_catalog.pg_index as state
       join pg_catalog.pg_class as found on found.oid operator(pg_catalog.=) state.indexrelid
       where state.indrelid operator(pg_catalog.=) relation.oid and found.relname operator(pg_catalog.=) $3::pg_catalog.name
     ) as is_valid
     from pg_catalog.pg_class as relation
     join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
     where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name and relation.relname operator(pg_catalog.=) $2::pg_catalog.name`,
    [schema, table, index],
  );
  const [row] = rows as { bytes: string; is_valid: "yes" | "no" | null }[];
  return { isValid: row?.is_valid ?? "missing", tableBytes: Number(row?.bytes ?? 0) };
}

const repeatableStates: ReadonlySet<string | undefined> = new Set([
  sqlStates.deadlockDetected,
  sqlStates.lockNotAvailable,
  sqlStates.duplicateTable,
  sqlStates.duplicateObject,
  sqlStates.uniqueViolation,
]);

const isWorthAnotherAttempt = (error: unknown): boolean =>
  error instanceof DatabaseError && repeatableStates.has(error.sqlState);
