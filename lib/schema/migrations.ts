import { escapeIdentifier } from "pg";
import { BeginError, type Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import { channelOf } from "../notify/channel";
import type { SqlClient } from "../result-backend";
import { type Migration, latestVersion, migrations, sqlFor, versionTable } from "./migration-files";
import { newerSchemaError } from "./schema-check";

export interface MigrationReport {
  readonly schema: string;
  /** The version of the tables now. */
  readonly version: number;
  /** What was run, in order; empty if everything was up to date. */
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that were found disabled, or enabled in replication only, and enabled again. */
  readonly repaired: readonly string[];
}

/** What those who migrate a schema at the same time take turns by. */
export const lockKey = (schema: string): string => `kojin-postgres migrate ${schema}`;

// Long enough for a large table to get its new column; a lock that is not to be had in that time is held by something that should be looked at.
const migrateTimeoutMs = 300_000;
const lockTimeout = "30s";
const maxAttempts = 6;
/**
 * How long the first attempt waits for `begin`, each further one twice as long. At a server it waits for nothing, so a connection on which it takes longer is dead, and
 * another is tried. A transaction pooler looks the same while other processes, that migrate too, keep all its connections to the server busy: 155 s are for them.
 */
const firstBeginTimeoutMs = 5_000;

/** Brings the tables of a schema to the version of this package. Any number of processes may do so at once; one does it, the others find it done. */
export async function migrate(database: Database, schema: string): Promise<MigrationReport> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await migrateOnce(database, schema, firstBeginTimeoutMs * 2 ** (attempt - 1));
    } catch (error) {
      if (!isWorthAnotherAttempt(error) || attempt === maxAttempts) throw error;
    }
  }
}

const statesOfTurns: ReadonlySet<string | undefined> = new Set([
  // No order of locks avoids deadlocks: some writers come to a group by its state, others by the table of members, and this needs both.
  sqlStates.deadlockDetected,
  sqlStates.serializationFailure,
  // `if not exists` looks before it creates, and somebody else may create in between.
  sqlStates.uniqueViolation,
  sqlStates.duplicateTable,
  sqlStates.duplicateSchema,
  sqlStates.duplicateObject,
]);

function isWorthAnotherAttempt(error: unknown): boolean {
  return error instanceof DatabaseError && (statesOfTurns.has(error.sqlState) || error.cause instanceof BeginError);
}

async function migrateOnce(database: Database, schema: string, beginTimeoutMs: number): Promise<MigrationReport> {
  return database.transaction("migrate", { timeoutMs: migrateTimeoutMs, beginTimeoutMs }, async (client) => {
    // Ends with the transaction, so a process that dies leaves nothing locked.
    await client.query("select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1::text, 0))", [
      lockKey(schema),
    ]);
    // Not before: for one another's turn processes wait as long as it takes.
    await client.query("select set_config('lock_timeout', $1::text, true)", [lockTimeout]);
    const pending = pendingOf(schema, await presentVersion(client, schema));
    if (pending.length > 0) {
      const name = escapeIdentifier(schema);
      await createSchema(client, schema);
      await client.query("select set_config('search_path', $1::text, true)", [`${name}, pg_temp`]);
      await client.query(versionTable(schema).create, []);
    }
    for (const migration of pending) {
      await client.query(sqlFor(schema, migration), []);
      const { version, name } = migration;
      const text = `insert into ${versionTable(schema).name} (version, name) values ($1::int, $2::text)`;
      await client.query(text, [version, name]);
    }
    return toReport(schema, pending, await enableTriggers(client, schema));
  });
}

function toReport(schema: string, applied: readonly Migration[], repaired: readonly string[]): MigrationReport {
  return {
    schema,
    version: latestVersion(),
    applied: applied.map(({ version, name }) => ({ version, name })),
    repaired,
  };
}

/** @throws {@link SchemaError} The schema is newer than this package. */
export function pendingOf(schema: string, present: number): readonly Migration[] {
  if (present > latestVersion()) throw newerSchemaError(schema, present, latestVersion());
  return migrations().filter(({ version }) => version > present);
}

/**
 * Asks without an error where there is nothing yet: an error would end the transaction. And asks the catalog itself: `to_regclass` answers from a cache of the session, which may
 * still say "no such table" from before the wait for the lock.
 */
async function presentVersion(client: SqlClient, schema: string): Promise<number> {
  const { rows: found } = await client.query(
    `select from pg_catalog.pg_class as relation
     join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
     where namespace.nspname = $1::text and relation.relname = 'kojin_migrations'`,
    [schema],
  );
  if (found.length === 0) return 0;
  const { rows } = await client.query(versionTable(schema).read, []);
  return Number(rows[0]?.["version"]);
}

/** `create schema if not exists` asks for the right to create one even where it exists. */
async function createSchema(client: SqlClient, schema: string): Promise<void> {
  const { rows } = await client.query("select 1 from pg_catalog.pg_namespace where nspname = $1::text", [schema]);
  if (rows.length === 0) await client.query(`create schema ${escapeIdentifier(schema)}`, []);
}

/** A restore with `--disable-triggers` that was cut short, or a bulk load, may have left them disabled, and then nobody is woken, and no member of a group counted. */
async function enableTriggers(client: SqlClient, schema: string): Promise<string[]> {
  const { rows } = await client.query(
    `select relation.relname as table_name, trigger.tgname as trigger_name
     from pg_trigger as trigger
     join pg_class as relation on relation.oid = trigger.tgrelid
     join pg_namespace as namespace on namespace.oid = relation.relnamespace
     where namespace.nspname = $1::text and pg_catalog.starts_with(trigger.tgname::text, 'kojin_') and trigger.tgenabled in ('D', 'R')
     order by trigger_name`,
    [schema],
  );
  const disabled = rows as { table_name: string; trigger_name: string }[];
  for (const { table_name, trigger_name } of disabled) {
    const table = `${escapeIdentifier(schema)}.${escapeIdentifier(table_name)}`;
    await client.query(`alter table ${table} enable trigger ${escapeIdentifier(trigger_name)}`, []);
  }
  // Who is waited for is found by sweeping; what was not counted would never be.
  if (disabled.some(({ table_name }) => table_name === "kojin_groups")) {
    await client.query(`select ${escapeIdentifier(schema)}.kojin_groups_recount($1::text)`, [channelOf(schema)]);
  }
  return disabled.map(({ trigger_name }) => trigger_name);
}
