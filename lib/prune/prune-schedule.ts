import type { Database } from "../database/database";
import type { ResolvedOptions } from "../options";
import type { ResultStatements } from "../store/statements";
import { prune } from "./prune";

/** Prunes now and then, if it is asked to. */
export class PruneSchedule {
  readonly #stopping = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  #isPruning = false;

  constructor(database: Database, statements: ResultStatements, { pruneIntervalMs, logger }: ResolvedOptions) {
    if (pruneIntervalMs === Infinity) return;
    const run = async (): Promise<void> => {
      if (this.#isPruning) return;
      this.#isPruning = true;
      try {
        await prune(database, statements, { signal: this.#stopping.signal });
      } catch (error) {
        if (!this.#stopping.signal.aborted)
          logger.warn(`Pruning failed, and is tried again in ${pruneIntervalMs} ms. ${String(error)}`);
      } finally {
        this.#isPruning = false;
      }
    };
    // Node fires a longer interval after 1 ms. Not a reason for the process to go on.
    this.#timer = setInterval(() => void run(), Math.min(pruneIntervalMs, 2 ** 31 - 1)).unref();
  }

  close(): void {
    this.#stopping.abort();
    clearInterval(this.#timer);
  }
}
