import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import { SchemaError } from "../errors";
import type { SqlClient } from "../result-backend";
import { checkDurationMs, checkOptions } from "../value/arguments";
import { latestVersion } from "./migration-files";
import { type MigrationProgress, MigrationRun, pendingAfter } from "./migration-run";
import { nothingMigrated, type SchemaCheck } from "./schema-check";
import { findTriggers, isIdle, readTriggers } from "./triggers";

export interface MigrateOptions {
  /**
   * Longest time for which each step asks for a lock that other sessions hold, in milliseconds. 0 or more; default
   * 300 000. A session may keep the migration lock itself for at most 30 s. Writers never wait longer than a second,
   * because each request for a lock ends after 700 ms and is then repeated.
   */
  readonly lockWaitMs?: number;
  /**
   * Counts all unexpired groups again from their members. Use it after members were copied, or written while the
   * triggers did not fire. Default `false`.
   */
  readonly recount?: boolean;
  /** Called at each step, after each page of rows, and while a step waits for a lock. */
  readonly onProgress?: (progress: MigrationProgress) => void;
}

export interface MigrationReport {
  readonly schema: string;
  /** Version of the tables now. */
  readonly version: number;
  /** Migrations that were run, in order; empty if everything was up to date. */
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that were missing, disabled, or enabled for replication only, and have been repaired. */
  readonly repaired: readonly string[];
}

/** The effect that `migrate()` would have. */
export interface MigrationPlan {
  readonly schema: string;
  /** Version of the tables now; 0 before the first migration. */
  readonly version: number;
  /** Version that the tables would have. */
  readonly latestVersion: number;
  /** Migrations that would be run, in order. */
  readonly pending: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that would be enabled again, or created again if they were dropped. */
  readonly disabledTriggers: readonly string[];
}

const defaultLockWaitMs = 300_000;
const planTimeoutMs = 10_000;

/**
 * Migrates the tables of a schema to the version of this package. Any number of processes may do so at once; they share
 * the steps. Writers are not blocked: each step locks a table only briefly, and rows are backfilled in pages.
 */
export async function migrate(
  database: Database,
  schema: string,
  options: MigrateOptions = {},
): Promise<MigrationReport> {
  checkOptions(options, { lockWaitMs: true, recount: true, onProgress: true });
  const { lockWaitMs = defaultLockWaitMs, recount = false, onProgress = () => undefined } = options;
  checkDurationMs(lockWaitMs, "lockWaitMs");
  const run = new MigrationRun(database, schema, lockWaitMs, onProgress);
  // If everything is up to date, no migration lock is needed, so it does not matter if another session holds it.
  if (recount || !(await run.isFinished())) await run.finish();
  const repaired = await repairTriggers(run, schema, recount);
  await forgetForeignTransactions(database, schema);
  return {
    schema,
    version: latestVersion,
    applied: run.applied.map(({ version, name }) => ({ version, name })),
    repaired,
  };
}

/**
 * Returns what {@link migrate} would do, and changes nothing.
 *
 * @throws {@link SchemaError} The schema is newer than this package.
 */
export async function planMigration(
  database: Database,
  schemaCheck: SchemaCheck,
  schema: string,
): Promise<MigrationPlan> {
  const state = await schemaCheck.state(planTimeoutMs).catch((error: unknown) => {
    if (error instanceof SchemaError && error.reason === "missing") return nothingMigrated;
    throw error;
  });
  // A role that may not read the version cannot migrate either, so the tables are assumed to be up to date.
  const version = state?.version ?? latestVersion;
  const pending = pendingAfter(version, schema);
  const idle = (await readTriggers(database, schema, planTimeoutMs)).filter(isIdle);
  return {
    schema,
    version,
    latestVersion,
    pending: pending.map((migration) => ({ version: migration.version, name: migration.name })),
    // Missing triggers may be created by a pending migration.
    disabledTriggers: idle
      .filter(({ state: idleState }) => idleState !== "missing" || pending.length === 0)
      .map(({ name }) => name),
  };
}

/**
 * Repairs triggers that a restore with `--disable-triggers` or a bulk load left disabled, or that were dropped. Then
 * counts members that were not counted meanwhile, each group under its lock.
 */
async function repairTriggers(run: MigrationRun, schema: string, recount: boolean): Promise<string[]> {
  const idle = (await run.lock.run(async (client) => findTriggers(client, schema), { isExclusive: false })).filter(
    isIdle,
  );
  const tables = [...new Set(idle.map(({ table }) => table))];
  if (recount) await run.lock.run(async (client) => run.requestRecount(client));
  for (const table of tables) {
    await run.lock.run(async (client) => {
      for (const trigger of idle) if (trigger.table === table) await client.query(trigger.repairSql, []);
      // In the same transaction, so that the next migration does the recount if this process crashes.
      if (table.startsWith("kojin_group")) await run.requestRecount(client);
    });
  }
  if (recount || tables.length > 0) await run.finish();
  return idle.map(({ name }) => name);
}

const rowsPerPage = 10_000;
const pageLimits = { timeoutMs: 300_000, beginTimeoutMs: 5_000, lockTimeoutMs: 5_000 };

/**
 * Clears transaction numbers that this cluster has not reached yet, which come from rows of another cluster. Otherwise
 * feeds would emit such a row as new once the cluster reaches its number. Without such rows this costs one index
 * lookup.
 */
async function forgetForeignTransactions(database: Database, schema: string): Promise<void> {
  const name = escapeIdentifier(schema);
  await clearForeign(database, `${name}.kojin_results`, "task_id", "stored_xid");
  await clearForeign(database, `${name}.kojin_group_state`, "group_id", "done_xid");
}

async function clearForeign(database: Database, table: string, key: string, xid: string): Promise<void> {
  const isForeign = `${xid} operator(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())`;
  const text = `select from ${table} where ${isForeign} limit 1`;
  const look = { purpose: "look for numbers of another cluster", text, values: [] };
  // Reading first lets a role that may only read call migrate() if there is nothing to do.
  if ((await database.query(look, pageLimits.timeoutMs)).length === 0) return;
  const clearPage = async (client: SqlClient): Promise<number> => {
    // Nothing new is stored, so nothing is notified.
    await client.query("set local kojin.notify = 'off'", []);
    const { rows } = await client.query(
      `update ${table} set ${xid} = null
       where ${key} operator(pg_catalog.=) any (array(
         select ${key} from ${table}
         where ${isForeign}
         limit ${rowsPerPage}
         for update
       ))
       returning true`,
      [],
    );
    return rows.length;
  };
  const purpose = "clear numbers of transactions of another cluster";
  while ((await database.transaction(purpose, pageLimits, clearPage)) === rowsPerPage);
}
