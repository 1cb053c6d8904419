import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import type { SqlClient } from "../result-backend";
import { checkDurationMs } from "../value/arguments";
import { forgetForeignTransactions } from "./foreign-transactions";
import { latestVersion } from "./migration-files";
import { type MigrationProgress, MigrationRun } from "./migration-run";
import { triggerDefinitions } from "./triggers";

export interface MigrateOptions {
  /**
   * How long to go on asking for a lock that other sessions hold, in milliseconds, for each step. 0 or more; default 300 000. A session that keeps the migration lock itself is
   * given 30 s at the most. Writers never wait for longer than a second: locks are asked for again and again, for 700 ms at a time.
   */
  readonly lockWaitMs?: number;
  /** Counts the groups that are not done anew, from the rows of their members: after they were copied, or written while the triggers were disabled. Default `false`. */
  readonly recount?: boolean;
  /** Called at each step, after each page of rows, and while a lock is waited for. */
  readonly onProgress?: (progress: MigrationProgress) => void;
}

export interface MigrationReport {
  readonly schema: string;
  /** The version of the tables now. */
  readonly version: number;
  /** What was run, in order; empty if everything was up to date. */
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that were found missing, disabled, or enabled in replication only, and that fire again. */
  readonly repaired: readonly string[];
}

const defaultLockWaitMs = 300_000;

/**
 * Brings the tables of a schema to the version of this package. Any number of processes may do so at once; they share the steps. Writers go on meanwhile: no step locks a table for
 * longer than a moment, and rows are backfilled in pages.
 */
export async function migrate(
  database: Database,
  schema: string,
  { lockWaitMs = defaultLockWaitMs, recount = false, onProgress = () => undefined }: MigrateOptions = {},
): Promise<MigrationReport> {
  checkDurationMs(lockWaitMs, "lockWaitMs");
  const run = new MigrationRun(database, schema, lockWaitMs, onProgress);
  // Without the migration lock where everything is up to date: then it does not matter which session holds it.
  if (recount || !(await run.isFinished())) await run.finish();
  const repaired = await repair(run, schema, recount);
  await forgetForeignTransactions(database, schema);
  return {
    schema,
    version: latestVersion(),
    applied: run.applied.map(({ version, name }) => ({ version, name })),
    repaired,
  };
}

/** A trigger that does not fire, and the statement that puts it right. */
interface TriggerRepair {
  readonly table: string;
  readonly trigger: string;
  readonly sql: string;
}

/**
 * A restore with `--disable-triggers` that was cut short, or a bulk load, may have left triggers disabled, and others were dropped by hand. Then no write is announced, and no member of
 * a group counted: what was not counted meanwhile is counted afterwards, each group under its lock.
 */
async function repair(run: MigrationRun, schema: string, recount: boolean): Promise<string[]> {
  const repairs = await run.look(async (client) =>
    [...(await readDisabledTriggers(client, schema)), ...(await readMissingTriggers(client, schema))].sort(
      (one, other) => (one.trigger < other.trigger ? -1 : 1),
    ),
  );
  const tables = [...new Set(repairs.map(({ table }) => table))];
  if (recount) await run.underLock(async (client) => run.requestRecount(client));
  for (const table of tables) {
    await run.underLock(async (client) => {
      for (const each of repairs) if (each.table === table) await client.query(each.sql, []);
      // In the same transaction: a process that dies now leaves the recount to the next one.
      if (table.startsWith("kojin_group")) await run.requestRecount(client);
    });
  }
  if (recount || tables.length > 0) await run.finish();
  return repairs.map(({ trigger }) => trigger);
}

async function readMissingTriggers(client: SqlClient, schema: string): Promise<readonly TriggerRepair[]> {
  const definitions = triggerDefinitions(schema);
  const text = `
    select expected.name
    from rows from (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[])) as expected (name, table_name)
    join pg_catalog.pg_class as relation on relation.relname operator(pg_catalog.=) expected.table_name
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name
      and not exists (
        select from pg_catalog.pg_trigger as trigger
        where trigger.tgrelid operator(pg_catalog.=) relation.oid and trigger.tgname operator(pg_catalog.=) expected.name
      )`;
  const values = [schema, definitions.map(({ name }) => name), definitions.map(({ table }) => table)];
  const missing = new Set((await client.query(text, values)).rows.map(({ name }) => String(name)));
  return definitions
    .filter(({ name }) => missing.has(name))
    .map(({ name, table, sql }) => ({ table, trigger: name, sql }));
}

async function readDisabledTriggers(client: SqlClient, schema: string): Promise<readonly TriggerRepair[]> {
  const text = `
    select relation.relname::pg_catalog.text as "table", trigger.tgname::pg_catalog.text as trigger
    from pg_catalog.pg_trigger as trigger
    join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) trigger.tgrelid
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name and pg_catalog.starts_with(trigger.tgname::pg_catalog.text, 'kojin_')
      and trigger.tgenabled operator(pg_catalog.=) any (array['D', 'R']::pg_catalog."char"[])
    order by trigger.tgname`;
  const { rows } = await client.query(text, [schema]);
  return rows.map(({ table, trigger }) => {
    const name = `${escapeIdentifier(schema)}.${escapeIdentifier(String(table))}`;
    const sql = `alter table ${name} enable trigger ${escapeIdentifier(String(trigger))}`;
    return { table: String(table), trigger: String(trigger), sql };
  });
}
