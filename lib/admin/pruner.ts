import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { checkDurationMs, checkInteger, longestTimerMs } from "../value/arguments";
import { DatabaseError } from "../errors";
import { groupStatements } from "../groups/group-statements";
import type { ResolvedOptions } from "../options";
import { resultStatements } from "../results/statements";

export interface PruneOptions {
  /** Only what expired at least this long ago, in milliseconds. 0 or more; default 0. */
  readonly olderThanMs?: number;
  /** Results, or groups, deleted in one statement, and so locked at once; fewer where that takes longer than 5 s. 1 to 100 000; default 1000. */
  readonly batchRows?: number;
  /** Stops after the statement that is under way; the call then rejects with `signal.reason`. What was deleted stays deleted. */
  readonly signal?: AbortSignal;
  /** Told after each statement how much is gone so far. */
  readonly onProgress?: (report: PruneReport) => void;
}

export interface PruneReport {
  /** Results that were deleted. */
  readonly results: number;
  /** Groups that were deleted, with their members. */
  readonly groups: number;
}

/** Longest time for one statement, on the server: it holds the locks of its rows. A batch that takes longer is deleted in smaller ones. */
const statementTimeoutMs = 5_000;
const limits = { timeoutMs: 300_000, beginTimeoutMs: 5_000, lockTimeoutMs: 5_000 };

const isTooLong = (error: unknown): boolean =>
  error instanceof DatabaseError &&
  (error.sqlState === sqlStates.queryCanceled || error.sqlState === sqlStates.lockNotAvailable);

/** Deletes what has expired: when it is asked to, and now and then by itself if the options say so. */
export class Pruner {
  readonly #database: Database;
  readonly #texts: Record<keyof PruneReport, string>;
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isScheduledRunning = false;

  constructor(database: Database, options: ResolvedOptions) {
    this.#database = database;
    this.#texts = { results: resultStatements(options).prune, groups: groupStatements(options).prune };
    if (options.pruneIntervalMs === Infinity) return;
    // Node fires a longer interval after 1 ms. Not a reason for the process to go on.
    this.#timer = setInterval(
      () => void this.#pruneScheduled(options),
      Math.min(options.pruneIntervalMs, longestTimerMs),
    ).unref();
  }

  /** In batches, each its own transaction. Any number of processes may do so at once: each passes over what another has locked. */
  async prune({ olderThanMs = 0, batchRows = 1_000, signal, onProgress }: PruneOptions = {}): Promise<PruneReport> {
    checkDurationMs(olderThanMs, "olderThanMs");
    checkInteger(batchRows, "batchRows", 1, 100_000);
    let report: PruneReport = { results: 0, groups: 0 };
    for (const kind of ["results", "groups"] as const) {
      let rows = batchRows;
      for (;;) {
        signal?.throwIfAborted();
        const deleted = await this.#deleteBatch(kind, rows, olderThanMs).catch((error: unknown) => {
          if (rows === 1 || !isTooLong(error)) throw error;
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

  /** Deletes at most so many in one transaction, which the server ends by itself where it takes too long. */
  async #deleteBatch(kind: keyof PruneReport, rows: number, olderThanMs: number): Promise<number> {
    // A single one may take all the time of the transaction: a group may have a million members.
    const batchLimits = { ...limits, statementTimeoutMs: rows === 1 ? undefined : statementTimeoutMs };
    return this.#database.transaction(`prune ${kind}`, batchLimits, async (client) => {
      return (await client.query(this.#texts[kind], [rows, olderThanMs])).rows.length;
    });
  }

  close(): void {
    this.#stopping.abort();
    clearInterval(this.#timer);
  }

  async #pruneScheduled({ pruneIntervalMs, logger }: ResolvedOptions): Promise<void> {
    if (this.#isScheduledRunning) return;
    this.#isScheduledRunning = true;
    try {
      await this.prune({ signal: this.#stopping.signal });
    } catch (error) {
      if (!this.#stopping.signal.aborted)
        logger.warn(`Pruning failed, and is tried again in ${pruneIntervalMs} ms. ${String(error)}`);
    } finally {
      this.#isScheduledRunning = false;
    }
  }
}
