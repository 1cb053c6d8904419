import type { Database } from "../database/database";
import type { ResultStatements } from "../store/statements";
import { checkDurationMs, checkInteger } from "../value/arguments";

export interface PruneOptions {
  /** Only what expired at least this long ago, in milliseconds. 0 or more; default 0. */
  readonly olderThanMs?: number;
  /** Rows deleted in one statement, and so the rows that are locked at once. 1 to 100 000; default 1000. */
  readonly batchRows?: number;
  /** Stops after the statement that is under way; the call then rejects with `signal.reason`. What was deleted stays deleted. */
  readonly signal?: AbortSignal;
  /** Told after each statement how many rows are gone so far. */
  readonly onProgress?: (report: PruneReport) => void;
}

export interface PruneReport {
  /** Results that were deleted. */
  readonly results: number;
}

const pruneStatementTimeoutMs = 30_000;

/** Deletes what has expired, in batches, each its own transaction. Any number of processes may do so at once: each passes over what another has locked. */
export async function prune(
  database: Database,
  statements: ResultStatements,
  options: PruneOptions = {},
): Promise<PruneReport> {
  const { olderThanMs = 0, batchRows = 1_000, signal, onProgress } = options;
  checkDurationMs(olderThanMs, "olderThanMs");
  checkInteger(batchRows, "batchRows", 1, 100_000);
  let results = 0;
  let deleted: number;
  do {
    signal?.throwIfAborted();
    const query = { purpose: "prune results", text: statements.prune, values: [batchRows, olderThanMs] };
    deleted = (await database.query(query, pruneStatementTimeoutMs)).length;
    results += deleted;
    onProgress?.({ results });
  } while (deleted === batchRows);
  return { results };
}
