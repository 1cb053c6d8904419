import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import type { SqlClient } from "../result-backend";
import { concurrently, type IndexStep } from "./migration-files";
import { describeSnapshotHolders, isCollision, isLockTimeout, type MigrationLock } from "./migration-lock";

/**
 * Size of a table from which its index is built concurrently. A plain build on a smaller table blocks its writers for
 * about 100 ms.
 */
const largeTableBytes = 32 * 1024 * 1024;
// A concurrent build waits for each transaction that was open when it began, whatever the size of the table.
const buildTimeoutMs = 6 * 3_600_000;
const maxAttempts = 6;
/** Time between reports of the transactions that a build may be waiting for. */
const lookIntervalMs = 2_000;

/**
 * Builds an index unless it exists and is valid. On a large table it is built concurrently, so that writers are not
 * blocked.
 */
export async function buildIndex(
  database: Database,
  lock: MigrationLock,
  schema: string,
  step: IndexStep,
  onWait: (waitingFor: string) => void,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    if (await lock.run(async (client) => buildIfSmall(client, schema, step))) return;
    // On another connection, if the pool has one.
    const look = async (): Promise<void> => {
      const holders = await describeSnapshotHolders(database).catch(() => "");
      if (holders !== "") onWait(holders);
    };
    const timer = setInterval(() => void look(), lookIntervalMs).unref();
    try {
      await database.session("build an index", buildTimeoutMs, async (client) => buildConcurrently(client, step));
    } catch (error) {
      // Another process builds the same index: the server ends one of the two.
      if (!(isCollision(error) || isLockTimeout(error)) || attempt === maxAttempts) throw error;
    } finally {
      clearInterval(timer);
    }
  }
}

/** Builds an index outside a transaction. The build does not block writers, so its own waits need no limit. */
async function buildConcurrently(client: SqlClient, step: IndexStep): Promise<void> {
  // `transaction_timeout` exists since version 17.
  const { rows } = await client.query(
    `select name from pg_catalog.unnest($1::pg_catalog.text[]) as setting (name)
     where pg_catalog.current_setting(name, true) is not null`,
    [["statement_timeout", "lock_timeout", "transaction_timeout"]],
  );
  const limits = rows.map((row) => String(row["name"]));
  for (const limit of limits) await client.query(`set ${limit} = 0`, []);
  await client.query(concurrently(step), []);
  for (const limit of limits) await client.query(`reset ${limit}`, []);
}

/**
 * Builds the index of a small table, and drops what an interrupted concurrent build has left. Resolves with false if
 * the index must still be built, concurrently.
 */
async function buildIfSmall(client: SqlClient, schema: string, step: IndexStep): Promise<boolean> {
  const found = await readIndex(client, schema, step);
  if (found.isValid === true) return true;
  if (found.isValid === false) {
    // Waits for a running build and prevents new ones, without blocking writers.
    const table = `${escapeIdentifier(schema)}.${escapeIdentifier(step.table)}`;
    await client.query(`lock table ${table} in share update exclusive mode`, []);
    if ((await readIndex(client, schema, step)).isValid === true) return true;
    await client.query(`drop index if exists ${escapeIdentifier(schema)}.${escapeIdentifier(step.index)}`, []);
  }
  if (found.tableBytes >= largeTableBytes) return false;
  await client.query(step.sql, []);
  return true;
}

interface FoundIndex {
  /** Undefined if there is no index. */
  readonly isValid: boolean | undefined;
  readonly tableBytes: number;
}

async function readIndex(client: SqlClient, schema: string, { index, table }: IndexStep): Promise<FoundIndex> {
  const { rows } = await client.query(
    `select pg_catalog.pg_relation_size(relation.oid)::pg_catalog.text as bytes, (
       select state.indisvalid
       from pg_catalog.pg_index as state
       join pg_catalog.pg_class as found on found.oid operator(pg_catalog.=) state.indexrelid
       where state.indrelid operator(pg_catalog.=) relation.oid and found.relname operator(pg_catalog.=) $3::pg_catalog.name
     ) as is_valid
     from pg_catalog.pg_class as relation
     join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
     where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name and relation.relname operator(pg_catalog.=) $2::pg_catalog.name`,
    [schema, table, index],
  );
  const [row] = rows as { bytes: string; is_valid: boolean | null }[];
  return { isValid: row?.is_valid ?? undefined, tableBytes: Number(row?.bytes ?? 0) };
}
