import type { Observable } from "rxjs";
import { type BatchItem, Batcher } from "../batcher";
import { Call } from "../call";
import type { Database } from "../database/database";
import { isTransient, retryTransient } from "../database/retry";
import type { Deadlines } from "../deadlines";
import { DatabaseError, BackendClosedError } from "../errors";
import type { StoredResult } from "../notify/hint";
import type { SchemaCheck } from "../schema/schema-check";
import type { ResultStatements } from "../store/statements";
import type { WakeCause } from "./router";

// A wake-up has few ids, a re-read of everything many: large enough that 100 000 open waits are re-read in 100 statements.
const maxIdsPerRead = 1_000;
const maxReadsInFlight = 2;

interface LoadItem extends BatchItem {
  readonly cause: WakeCause;
  readonly calls: readonly Call<StoredResult | undefined>[];
}

/** What a read found: called for each id that is there, before the calls that asked for it are answered. */
export type OnFound = (stored: StoredResult, cause: WakeCause, isOld: boolean) => void;
/** Called when a read failed for good: asking again will not help. */
export type OnDenied = (taskIds: readonly string[], error: Error) => void;

export interface LoaderParts {
  readonly database: Database;
  readonly statements: ResultStatements;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly closed$: Observable<never>;
  readonly retryTimeoutMs: number;
  readonly onFound: OnFound;
  readonly onDenied: OnDenied;
}

type Row = [taskId: string, result: string, error: string | null, storedAt: string, isOld: boolean];

/**
 * Reads results, many in one statement. An id that is asked for while a read of it is under way is read once more after it: the read under way may have begun
 * before the commit that the asker was told of.
 */
export class Loader {
  readonly #parts: LoaderParts;
  readonly #batcher: Batcher<LoadItem>;
  #reads = 0;
  #retries = 0;
  #lastError: DatabaseError | undefined;

  constructor(parts: LoaderParts) {
    this.#parts = parts;
    this.#batcher = new Batcher<LoadItem>({
      maxItems: maxIdsPerRead,
      maxBytes: Infinity,
      inFlight: maxReadsInFlight,
      exclusiveKeys: false,
      // Whoever asked first names the cause: a sweep that meets a hint on its way has caught nothing.
      merge: (queued, added) =>
        added.calls.length === 0 ? queued : { ...queued, calls: [...queued.calls, ...added.calls] },
      run: (items) => this.#run(items),
    });
  }

  get counters(): { reads: number; retries: number } {
    return { reads: this.#reads, retries: this.#retries };
  }

  /** Why the latest read failed; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#lastError;
  }

  /** Reads an id for whoever watches it; `onFound` hears if it is there. */
  request(taskId: string, cause: WakeCause): void {
    this.#batcher.add({ key: taskId, bytes: 0, cause, calls: [] });
  }

  /** Reads an id for the caller; `undefined` if it is not there. Rejects after `retryTimeoutMs` at the latest. */
  async load(taskId: string, cause: WakeCause): Promise<StoredResult | undefined> {
    const { deadlines, retryTimeoutMs } = this.#parts;
    const late = (): Error =>
      new DatabaseError(`Could not read results: no answer within ${retryTimeoutMs} ms.`, undefined, true, {
        cause: this.#lastError,
      });
    const call = new Call<StoredResult | undefined>(deadlines, retryTimeoutMs, late);
    this.#batcher.add({ key: taskId, bytes: 0, cause, calls: [call] });
    return call.promise;
  }

  async drain(): Promise<void> {
    await this.#batcher.drain();
  }

  async #run(items: readonly LoadItem[]): Promise<void> {
    try {
      const found = await this.#read(items.map(({ key }) => key));
      this.#lastError = undefined;
      for (const { key, cause, calls } of items) {
        const row = found.get(key);
        if (row !== undefined) this.#parts.onFound(row.stored, cause, row.isOld);
        for (const call of calls) call.resolve(row?.stored);
      }
    } catch (error) {
      if (isTransient(error)) this.#lastError = error;
      for (const { calls } of items) for (const call of calls) call.reject(error);
      // After an outage the waiters are still there, and the next sweep asks for them.
      if (isTransient(error) || error instanceof BackendClosedError) return;
      this.#parts.onDenied(
        items.map(({ key }) => key),
        error as Error,
      );
    }
  }

  async #read(taskIds: readonly string[]): Promise<Map<string, { stored: StoredResult; isOld: boolean }>> {
    const { database, statements, schemaCheck, closed$, retryTimeoutMs } = this.#parts;
    const attempt = async (): Promise<Row[]> => {
      const attemptMs = retryTimeoutMs / 2;
      await schemaCheck.pass(attemptMs);
      this.#reads += 1;
      return database.query<Row>({ purpose: "read results", text: statements.read, values: [taskIds] }, attemptMs);
    };
    const onRetry = (error: DatabaseError): void => {
      this.#lastError = error;
      this.#retries += 1;
    };
    const rows = await retryTransient(attempt, { dueAt: performance.now() + retryTimeoutMs, closed$, onRetry });
    return new Map(
      rows.map(([taskId, result, error, storedAt, isOld]) => [
        taskId,
        { stored: { taskId, result, error, storedAt: Number(storedAt) }, isOld },
      ]),
    );
  }
}
