import { escapeIdentifier } from "pg";
import { chunkStatements } from "../chunks/chunk-statements";
import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import { groupStatements } from "../groups/group-statements";
import type { ResolvedOptions } from "../options";
import { checkDurationMs, checkInteger, checkOptions, longestTimerMs, type OptionNames } from "../value/arguments";

export interface PruneOptions {
  /** Deletes only rows that expired at least this long ago, in milliseconds. 0 or more; default 0. */
  readonly olderThanMs?: number;
  /**
   * Most results, groups or streams that one statement deletes, and therefore locks together. Fewer if that takes
   * longer than 5 s. 1 to 100 000; default 1000.
   */
  readonly batchRows?: number;
  /** Stops after the current statement; the call then rejects with `signal.reason`. Deleted rows stay deleted. */
  readonly signal?: AbortSignal;
  /** Called after each statement with the counts so far. */
  readonly onProgress?: (report: PruneReport) => void;
}

const pruneNames: OptionNames<PruneOptions> = { olderThanMs: true, batchRows: true, signal: true, onProgress: true };

export interface PruneReport {
  /** Results that were, or would be, deleted. */
  readonly results: number;
  /** Groups that were, or would be, deleted with their members. */
  readonly groups: number;
  /** Streams of chunks that were, or would be, deleted without a result. Those of deleted results are not counted. */
  readonly streams: number;
}

/** Longest time of one statement, since it holds row locks. A slower batch is split into smaller ones. */
const statementTimeoutMs = 5_000;
const limits = { timeoutMs: 300_000, beginTimeoutMs: 5_000, lockTimeoutMs: 5_000 };
/** Counting expired rows reads an index from end to end. */
const countTimeoutMs = 60_000;

// $1 float8 milliseconds since the expiry. Counts the rows that `prune` would delete. Streams of tasks with a result
// expire with it.
const countText = (schema: string, table: string): string => `
  select pg_catalog.count(*)::pg_catalog.text from ${schema}.${table} as expired
  where expires_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp()
    operator(pg_catalog.-) ($1::double precision operator(pg_catalog.*) interval '1 millisecond'))${
      table === "kojin_streams"
        ? ` and not exists (
    select from ${schema}.kojin_results as result where result.task_id operator(pg_catalog.=) expired.task_id)`
        : ""
    }`;

// Deletes expired results. $1 int rows at the most; $2 float8 ms since they expired. Rows that another session has
// locked are left to it. Returns a row for each.
function pruneResultsText(schema: string): string {
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  return `
    delete from ${results}
    where task_id operator(pg_catalog.=) any (array(
      select task_id from ${results}
      where expires_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.-) ($2::double precision operator(pg_catalog.*) interval '1 millisecond'))
      order by expires_at
      limit $1::int
      for update skip locked
    ))
    returning true`;
}

const isTooSlow = (error: unknown): boolean =>
  error instanceof DatabaseError &&
  (error.sqlState === sqlStates.queryCanceled || error.sqlState === sqlStates.lockNotAvailable);

/** Deletes expired rows, on request and, if the options say so, at an interval. */
export class Pruner {
  readonly #database: Database;
  readonly #options: ResolvedOptions;
  readonly #texts: Record<keyof PruneReport, string>;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(database: Database, options: ResolvedOptions) {
    this.#database = database;
    this.#options = options;
    this.#texts = {
      results: pruneResultsText(options.schema),
      groups: groupStatements(options).prune,
      streams: chunkStatements(options).prune,
    };
    this.#schedule();
  }

  /**
   * Deletes in batches, each in its own transaction. Several processes may do so at once: each skips rows that another
   * has locked.
   */
  async prune(options: PruneOptions = {}): Promise<PruneReport> {
    checkOptions(options, pruneNames);
    const { olderThanMs = 0, batchRows = 1_000, signal, onProgress } = options;
    checkDurationMs(olderThanMs, "olderThanMs");
    checkInteger(batchRows, "batchRows", 1, 100_000);
    let report: PruneReport = { results: 0, groups: 0, streams: 0 };
    for (const kind of ["results", "groups", "streams"] as const) {
      let rows = batchRows;
      for (;;) {
        signal?.throwIfAborted();
        const deleted = await this.#deleteBatch(kind, rows, olderThanMs).catch((error: unknown) => {
          if (rows === 1 || !isTooSlow(error)) throw error;
          return undefined;
        });
        if (deleted === undefined) {
          rows = Math.max(1, Math.floor(rows / 4));
          continue;
        }
        report = { ...report, [kind]: report[kind] + deleted };
        if (deleted > 0) onProgress?.(report);
        if (deleted < rows) break;
      }
    }
    return report;
  }

  async countExpired(options: Pick<PruneOptions, "olderThanMs"> = {}): Promise<PruneReport> {
    checkOptions(options, { olderThanMs: true });
    const { olderThanMs = 0 } = options;
    checkDurationMs(olderThanMs, "olderThanMs");
    const count = async (table: string): Promise<number> => {
      const text = countText(escapeIdentifier(this.#options.schema), table);
      const query = { purpose: "count expired rows", text, values: [olderThanMs] };
      const [row] = await this.#database.query<[string]>(query, countTimeoutMs);
      return Number(row?.[0]);
    };
    return {
      results: await count("kojin_results"),
      groups: await count("kojin_group_state"),
      streams: await count("kojin_streams"),
    };
  }

  close(): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  async #deleteBatch(kind: keyof PruneReport, rows: number, olderThanMs: number): Promise<number> {
    // A single group may have a million members, so it may take all the time of the transaction.
    const batchLimits = { ...limits, statementTimeoutMs: rows === 1 ? undefined : statementTimeoutMs };
    return this.#database.transaction(`prune ${kind}`, batchLimits, async (client) => {
      return (await client.query(this.#texts[kind], [rows, olderThanMs])).rows.length;
    });
  }

  #schedule(): void {
    const { pruneIntervalMs } = this.#options;
    if (pruneIntervalMs === Infinity || this.#stopping.signal.aborted) return;
    const run = (): void => void this.#pruneScheduled().finally(() => this.#schedule());
    // Unreferenced: pruning alone does not keep a process running.
    this.#timer = setTimeout(run, Math.min(pruneIntervalMs, longestTimerMs)).unref();
  }

  async #pruneScheduled(): Promise<void> {
    try {
      await this.prune({ signal: this.#stopping.signal });
    } catch (error) {
      const { logger, pruneIntervalMs } = this.#options;
      if (!this.#stopping.signal.aborted)
        logger.warn(`Pruning failed and will be retried in ${pruneIntervalMs} ms. ${String(error)}`);
    }
  }
}
