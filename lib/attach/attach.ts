import { escapeIdentifier, escapeLiteral } from "pg";
import type { Database } from "../database/database";
import { sqlStateOf } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { checkOptions, checkTtlMs, type OptionNames, typeName } from "../value/arguments";
import { type AttachedQueue, dropUnused, readAttached, type Settings } from "./attachments";
import { Backfill, type BackfillReport } from "./backfill";
import {
  copyFunctionName,
  type CopyRules,
  functionsSql,
  outcomesOf,
  qualifiedTable,
  sharedFunctions,
  triggerName,
} from "./copy-functions";
import type { QueueName } from "./presets";
import { changeLocked, queueLock } from "./queue-lock";
import {
  displayName,
  type QueueTable,
  resolveNames,
  type ResolvedTable,
  resolveTables,
  type TableName,
} from "./queue-table";

export interface DetachOptions {
  /** Schema of the queue's table. Default: that of the queue, such as `pgboss`, or `public`. */
  readonly schema?: string;
  /**
   * Longest time to wait for a lock on the queue's table, in milliseconds. 0 or more; default 30 000. The queue never
   * waits longer than a second for this, because each attempt ends after 900 ms and is then repeated. If the table has
   * more than 900 partitions, an attempt may take a millisecond for each.
   */
  readonly lockWaitMs?: number;
}

export interface AttachOptions extends DetachOptions {
  /** Precedes the id of a job in its task id. Use it if the ids of two queues may be equal. Default: none. */
  readonly prefix?: string;
  /** Time to live of a copied outcome, in milliseconds. Default: that of the backend. */
  readonly ttlMs?: number;
  /** Copies the outcomes of jobs that have finished already, as far as the queue still has them. Default `true`. */
  readonly backfill?: boolean;
  /** Called after each page of rows that was backfilled. */
  readonly onProgress?: (report: BackfillReport) => void;
}

export interface AttachReport extends BackfillReport {
  /** The tables of the queue, most of which have one. */
  readonly attached: readonly AttachedQueue[];
}

/** The backend's parts and settings. */
export interface AttachContext {
  readonly database: Database;
  /** Schema of the results. */
  readonly schema: string;
  readonly ttlMs: number;
  readonly maxResultBytes: number;
}

const detachNames: OptionNames<DetachOptions> = { schema: true, lockWaitMs: true };
const attachNames: OptionNames<AttachOptions> = {
  ...detachNames,
  prefix: true,
  ttlMs: true,
  backfill: true,
  onProgress: true,
};

const readTimeoutMs = 10_000;

/** Creates the trigger on a queue's table, or replaces it, and copies what has finished before. */
export async function attachQueue(
  context: AttachContext,
  queue: QueueName | QueueTable,
  options: AttachOptions = {},
): Promise<AttachReport> {
  checkOptions(options, attachNames);
  const { database, schema, maxResultBytes } = context;
  const { prefix = "", ttlMs = context.ttlMs, backfill = true, onProgress = () => undefined } = options;
  const tables = resolveTables(queue, options.schema);
  checkPrefix(prefix);
  checkTtlMs(ttlMs, "ttlMs");
  for (const table of tables)
    if (table.schema === schema && table.table.startsWith("kojin_"))
      throw new RangeError(`table: ${displayName(table)} is a table of this package.`);
  const rules: CopyRules = { prefix, ttlMs, maxResultBytes };
  await queueLock(database, schema, tables, "attach to", options).run(async (client) => {
    for (const table of tables) await createFunctions(client, schema, table, rules);
    await changeLocked(
      client,
      tables,
      tables.map((table) => createTriggerSql(schema, table)),
    );
    await dropUnused(client, schema, sharedFunctions);
  });
  const report = backfill
    ? await new Backfill(database, schema, tables, rules, onProgress).run()
    : { copied: 0, skipped: 0 };
  const names = new Set(tables.map(displayName));
  const attached = (await readAttached(database, schema, readTimeoutMs)).filter((each) => names.has(displayName(each)));
  return { attached, ...report };
}

/** Removes the trigger and its functions. Resolves with false if the queue was not attached. */
export async function detachQueue(
  context: AttachContext,
  queue: QueueName | Pick<QueueTable, "table">,
  options: DetachOptions = {},
): Promise<boolean> {
  checkOptions(options, detachNames);
  const tables = resolveNames(queue, options.schema);
  const { database, schema } = context;
  return queueLock(database, schema, tables, "detach from", options).run(async (client) => {
    let wasAttached = false;
    for (const table of tables) wasAttached ||= await exists(client, schema, table);
    await changeLocked(
      client,
      tables,
      tables.map((table) => dropTriggerSql(schema, table)),
    );
    await dropUnused(client, schema, sharedFunctions);
    return wasAttached;
  });
}

async function createFunctions(
  client: SqlClient,
  schema: string,
  table: ResolvedTable,
  rules: CopyRules,
): Promise<void> {
  await checkExpressions(client, table, rules);
  const place = escapeIdentifier(schema);
  const name = `${place}.${copyFunctionName(table)}`;
  const settings: Settings = {
    queue: table.queue,
    prefix: rules.prefix,
    ttlMs: rules.ttlMs === Infinity ? null : rules.ttlMs,
  };
  await client.query(functionsSql(schema, table, rules), []);
  await client.query(`comment on function ${name}() is ${escapeLiteral(JSON.stringify(settings))}`, []);
  // The role that writes a job calls them with its own rights. By default every role may, but that may be revoked.
  for (const each of sharedFunctions) await client.query(`grant execute on function ${place}.${each} to public`, []);
}

// For each row, not for each statement: a statement that names a partition does not fire the statement triggers of the
// partitioned table, and partitions are created later. Row triggers are created with them.
const createTriggerSql = (schema: string, table: ResolvedTable): string =>
  `create or replace trigger ${triggerName(schema)} after insert or update on ${qualifiedTable(table)}
   for each row execute function ${escapeIdentifier(schema)}.${copyFunctionName(table)}()`;

// The owner of the function may drop the trigger with it. `drop trigger` would require the owner of the table.
const dropTriggerSql = (schema: string, table: TableName): string =>
  `drop function if exists ${escapeIdentifier(schema)}.${copyFunctionName(table)}() cascade`;

/** Rejects if the table is missing, or if an expression does not fit it. */
async function checkExpressions(client: SqlClient, table: ResolvedTable, rules: CopyRules): Promise<void> {
  // With a value, so that the server accepts a single statement.
  const text = `select from (${outcomesOf(qualifiedTable(table), rules, table)}) as outcome where $1::boolean`;
  await client.query(text, [false]).catch((error: unknown) => {
    const sqlState = sqlStateOf(error) ?? "";
    // Syntax, names and types.
    if (!/^(42|3F|22)/.test(sqlState)) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new DatabaseError(`Could not attach to ${displayName(table)}: ${message}.`, sqlState, false, {
      cause: error,
      origin: "statement",
    });
  });
}

async function exists(client: SqlClient, schema: string, table: TableName): Promise<boolean> {
  const { rows } = await client.query(
    `select from pg_catalog.pg_proc as copier
     join pg_catalog.pg_namespace as home on home.oid operator(pg_catalog.=) copier.pronamespace
     where home.nspname operator(pg_catalog.=) $1::pg_catalog.text and copier.proname operator(pg_catalog.=) $2::pg_catalog.text`,
    [schema, copyFunctionName(table)],
  );
  return rows.length > 0;
}

function checkPrefix(prefix: unknown): void {
  if (typeof prefix !== "string") throw new TypeError(`prefix: expected a string, got ${typeName(prefix)}.`);
  if (prefix.includes("\0")) throw new RangeError(`prefix: expected text without NUL, got ${JSON.stringify(prefix)}.`);
}
