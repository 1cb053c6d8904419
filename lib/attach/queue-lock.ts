import { escapeLiteral } from "pg";
import type { Database } from "../database/database";
import { sqlStateOf, sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { describeHolders, MigrationLock } from "../schema/migration-lock";
import { checkDurationMs } from "../value/arguments";
import { displayName, type TableName } from "./queue-table";

const defaultLockWaitMs = 30_000;
/**
 * Longest time of the statement that locks a queue's tables. `lock_timeout` does not limit this time: it applies to
 * each partition, and the statement keeps the locks that it has. Below the default `deadlock_timeout` of 1 s, so that
 * in a deadlock with a writer this statement ends first.
 */
const lockedMs = 900;
/** The limit for each partition, if that is more. The server takes 0.1 ms to create or drop the trigger of one. */
const partitionMs = 1;

/** Serialises with migrations of the schema, and names the sessions that hold a lock on the queue's tables. */
export function queueLock(
  database: Database,
  schema: string,
  tables: readonly TableName[],
  action: string,
  { lockWaitMs = defaultLockWaitMs }: { readonly lockWaitMs?: number },
): MigrationLock {
  checkDurationMs(lockWaitMs, "lockWaitMs");
  return new MigrationLock(database, schema, lockWaitMs, () => undefined, {
    purpose: `${action} ${tables.map(displayName).join(" and ")}`,
    describeHolders: async () => describeHolders(database, holdsTable, namesOf(tables)),
  });
}

/**
 * Runs statements that lock the queue's tables, as one statement with one time limit. The limit stays for the rest of
 * the transaction, which should end shortly, since its locks keep the queue's writers waiting.
 *
 * @throws {@link DatabaseError} With the code of a lock timeout: the statements were not done in time.
 */
export async function changeLocked(
  client: SqlClient,
  tables: readonly TableName[],
  statements: readonly string[],
): Promise<void> {
  const { rows } = await client.query(partitionsText, namesOf(tables));
  const limitMs = Math.max(lockedMs, partitionMs * Number(rows[0]?.["partitions"] ?? 0));
  await client.query(`set local statement_timeout = ${limitMs}`, []);
  const block = `begin ${statements.map((statement) => `${statement};`).join(" ")} end`;
  await client.query(`do ${escapeLiteral(block)}`, []).catch((error: unknown) => {
    if (sqlStateOf(error) !== sqlStates.queryCanceled) throw error;
    const message = `Could not lock ${tables.map(displayName).join(" and ")} within ${limitMs} ms.`;
    throw new DatabaseError(message, sqlStates.lockNotAvailable, true, { cause: error, origin: "statement" });
  });
}

const namesOf = (tables: readonly TableName[]): string[][] => [
  tables.map(({ schema }) => schema),
  tables.map(({ table }) => table),
];

// $1 text[] schemas, $2 text[] names of tables that exist.
const wantedTables = `
  rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) as wanted (place, name)
  join pg_catalog.pg_namespace as place on place.nspname operator(pg_catalog.=) wanted.place
  join pg_catalog.pg_class as root
    on root.relnamespace operator(pg_catalog.=) place.oid and root.relname operator(pg_catalog.=) wanted.name`;

// $1 text[] schemas, $2 text[] names. Returns the number of partitions of the tables, at all levels.
const partitionsText = `
  select pg_catalog.count(*)::int as partitions
  from ${wantedTables}
  join lateral pg_catalog.pg_partition_tree(root.oid) as tree on tree.level operator(pg_catalog.>) 0`;

// $1 text[] schemas, $2 text[] names. A condition on a session, that it has locked a table or one of its partitions.
const holdsTable = `exists (
  select from pg_catalog.pg_locks as lock
  join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) lock.relation
  where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
    and lock.database operator(pg_catalog.=) holder.datid
    and exists (
      select from ${wantedTables}
      where root.oid operator(pg_catalog.=) relation.oid or exists (
        select from pg_catalog.pg_partition_tree(root.oid) as tree
        where tree.relid::pg_catalog.oid operator(pg_catalog.=) relation.oid
      )
    )
)`;
