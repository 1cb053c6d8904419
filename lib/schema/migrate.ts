import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import { SchemaError } from "../errors";
import type { SqlClient } from "../result-backend";
import { checkDurationMs } from "../value/arguments";
import { latestVersion } from "./migration-files";
import { type MigrationProgress, MigrationRun, pendingAfter } from "./migration-run";
import { nothingMigrated, type SchemaCheck } from "./schema-check";
import { findTriggers, isIdle, readTriggers } from "./triggers";

export interface MigrateOptions {
  /**
   * Longest time to go on asking for a lock that other sessions hold, in milliseconds, for each step. 0 or more;
   * default 300 000. A session that keeps the migration lock itself is given 30 s at the most. Writers never wait for
   * longer than a second: locks are asked for again and again, for 700 ms at a time.
   */
  readonly lockWaitMs?: number;
  /**
   * Counts open groups anew, from the rows of their members: after they were copied, or written while the triggers were
   * disabled. Default `false`.
   */
  readonly recount?: boolean;
  /** Called at each step, after each page of rows, and while a lock is waited for. */
  readonly onProgress?: (progress: MigrationProgress) => void;
}

export interface MigrationReport {
  readonly schema: string;
  /** The version of the tables now. */
  readonly version: number;
  /** The migrations that were run, in order; empty if everything was up to date. */
  readonly applied: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that were found missing, disabled, or enabled in replication only, and that fire again. */
  readonly repaired: readonly string[];
}

/** The effect that `migrate()` would have. */
export interface MigrationPlan {
  readonly schema: string;
  /** The version of the tables now; 0 if nothing was migrated yet. */
  readonly version: number;
  /** The version that they would have. */
  readonly latestVersion: number;
  /** The migrations that would be run, in order. */
  readonly pending: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that would be enabled again, or created again if they were dropped. */
  readonly disabledTriggers: readonly string[];
}

const defaultLockWaitMs = 300_000;
const planTimeoutMs = 10_000;

/**
 * Brings the tables of a schema to the version of this package. Any number of processes may do so at once; they share
 * the steps. Writers go on meanwhile: no step locks a table for longer than a moment, and rows are backfilled in pages.
 */
export async function migrate(
  database: Database,
  schema: string,
  { lockWaitMs = defaultLockWaitMs, recount = false, onProgress = () => undefined }: MigrateOptions = {},
): Promise<MigrationReport> {
  checkDurationMs(lockWaitMs, "lockWaitMs");
  const run = new MigrationRun(database, schema, lockWaitMs, onProgress);
  // Without the migration lock if everything is up to date: then it does not matter which session holds it.
  if (recount || !(await run.isFinished())) await run.finish();
  const repaired = await repairTriggers(run, schema, recount);
  await forgetForeignTransactions(database, schema);
  return {
    schema,
    version: latestVersion(),
    applied: run.applied.map(({ version, name }) => ({ version, name })),
    repaired,
  };
}

/**
 * Finds out what {@link migrate} would do, and changes nothing.
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
  // A role that may not read the version could not migrate either, unless nothing is to be done.
  const version = state?.version ?? latestVersion();
  const pending = pendingAfter(version, schema);
  const idle = (await readTriggers(database, schema, planTimeoutMs)).filter(isIdle);
  return {
    schema,
    version,
    latestVersion: latestVersion(),
    pending: pending.map((migration) => ({ version: migration.version, name: migration.name })),
    // What is pending may be what creates those that are missing.
    disabledTriggers: idle
      .filter(({ state: idleState }) => idleState !== "missing" || pending.length === 0)
      .map(({ name }) => name),
  };
}

/**
 * Repairs triggers that a restore with `--disable-triggers` or a bulk load left disabled, or that were dropped by hand.
 * Members of groups that were not counted meanwhile are counted afterwards, each group under its lock.
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
      // In the same transaction: a process that dies now leaves the recount to the next one.
      if (table.startsWith("kojin_group")) await run.requestRecount(client);
    });
  }
  if (recount || tables.length > 0) await run.finish();
  return idle.map(({ name }) => name);
}

const rowsPerPage = 10_000;
const pageLimits = { timeoutMs: 300_000, beginTimeoutMs: 5_000, lockTimeoutMs: 5_000 };

/**
 * Clears the numbers of transactions that this cluster has not reached, which rows restored from another cluster have:
 * feeds would show such a row as new once the cluster gets there. If there are none, costs one look at an index.
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
  // A role that may only read can call migrate() if there is nothing to do.
  if ((await database.query(look, pageLimits.timeoutMs)).length === 0) return;
  const clearPage = async (client: SqlClient): Promise<number> => {
    // Nothing has been stored anew, so there is nothing to notify.
    await client.query("set local kojin.notify = 'off'", []);
    const { rowCount } = await client.query(
      `update ${table} set ${xid} = null
       where ${key} operator(pg_catalog.=) any (array(
         select ${key} from ${table}
         where ${isForeign}
         limit ${rowsPerPage}
         for update
       ))`,
      [],
    );
    return rowCount ?? 0;
  };
  const purpose = "clear numbers of transactions of another cluster";
  while ((await database.transaction(purpose, pageLimits, clearPage)) === rowsPerPage);
}
