import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { BeginError, type Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import { channelOf } from "../notify/channel";
import type { SqlClient } from "../result-backend";
import { newerSchemaError } from "./schema-check";

export interface Migration {
  readonly version: number;
  /** The name of its file, without the ending. */
  readonly name: string;
  readonly sql: string;
}

export interface MigrationReport {
  readonly schema: string;
  /** The version of the tables now. */
  readonly version: number;
  /** What was run, in order; empty if everything was up to date. */
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that were found disabled, or enabled in replication only, and enabled again. */
  readonly repaired: readonly string[];
}

/** The folder `sql/` of the package, which stands beside `dist/` as it stands beside `lib/`. */
const folder = join(__dirname, "..", "..", "sql");

let loaded: readonly Migration[] | undefined;

/** All migrations, in order. */
export function migrations(): readonly Migration[] {
  loaded ??= readdirSync(folder)
    .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file.slice(0, -".sql".length),
      sql: readFileSync(join(folder, file), "utf8"),
    }));
  return loaded;
}

/** The version of the tables that this package works with. */
export const latestVersion = (): number => migrations().at(-1)?.version ?? 0;

/** What those who migrate a schema at the same time take turns by. */
export const lockKey = (schema: string): string => `kojin-postgres migrate ${schema}`;

export const createVersionTable = `create table if not exists kojin_migrations (
  version int primary key,
  name text not null,
  applied_at timestamptz not null default now()
)`;

/**
 * The SQL of a migration with the name of the schema in its place. The quotes around functions get that name's hash, which the name itself does not contain: it may hold `$$`,
 * and would end them. And it is put there by a function, since `replaceAll` reads `$&` and the like in a text.
 */
export function sqlFor(schema: string, { sql }: Migration): string {
  const [name, tag] = [escapeIdentifier(schema), channelOf(schema)];
  return sql
    .replaceAll("$$", () => `$${tag}$`)
    .replaceAll("$name$", () => `$${tag}_name$`)
    .replaceAll("@schema@.kojin", () => `${name}.kojin`);
}

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

function isWorthAnotherAttempt(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return false;
  // No order of locks avoids deadlocks: some writers come to a group by its state, others by the table of members, and this needs both.
  return error.sqlState === sqlStates.deadlockDetected || error.cause instanceof BeginError;
}

async function migrateOnce(database: Database, schema: string, beginTimeoutMs: number): Promise<MigrationReport> {
  return database.transaction("migrate", { timeoutMs: migrateTimeoutMs, beginTimeoutMs }, async (client) => {
    // Ends with the transaction, so a process that dies leaves nothing locked.
    await client.query("select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1::text, 0))", [
      lockKey(schema),
    ]);
    // Not before: for one another's turn processes wait as long as it takes.
    await client.query("select set_config('lock_timeout', $1::text, true)", [lockTimeout]);
    const present = await presentVersion(client, schema);
    if (present > latestVersion()) throw newerSchemaError(schema, present, latestVersion());
    const pending = migrations().filter(({ version }) => version > present);
    if (pending.length > 0) await apply(client, schema, pending);
    const repaired = await enableTriggers(client, schema);
    return {
      schema,
      version: latestVersion(),
      applied: pending.map(({ version, name }) => ({ version, name })),
      repaired,
    };
  });
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
  const table = `${escapeIdentifier(schema)}.kojin_migrations`;
  const { rows } = await client.query(`select coalesce(max(version), 0)::text as version from ${table}`, []);
  return Number(rows[0]?.["version"]);
}

async function apply(client: SqlClient, schema: string, pending: readonly Migration[]): Promise<void> {
  const name = escapeIdentifier(schema);
  // `create schema if not exists` asks for the right to create one even where it exists.
  const { rows } = await client.query("select from pg_catalog.pg_namespace where nspname = $1::text", [schema]);
  if (rows.length === 0) await client.query(`create schema ${name}`, []);
  await client.query("select set_config('search_path', $1::text, true)", [`${name}, pg_temp`]);
  await client.query(createVersionTable, []);
  for (const migration of pending) {
    await client.query(sqlFor(schema, migration), []);
    await client.query("insert into kojin_migrations (version, name) values ($1::int, $2::text)", [
      migration.version,
      migration.name,
    ]);
  }
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
