import type { Observable } from "rxjs";
import { type BatchItem, Batcher } from "../batcher";
import { Call } from "../call";
import type { Database, Query } from "../database/database";
import { retryTransient } from "../database/retry";
import { isRowFault, sqlStates } from "../database/sql-states";
import type { Deadlines } from "../deadlines";
import { DatabaseError, ResultEncodingError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { SqlClient } from "../result-backend";
import type { SchemaCheck } from "../schema/schema-check";
import type { Notifier } from "./notifier";
import { type StoreVariant, storeStatement } from "./statements";

/** One outcome to store. */
export interface StoreRow {
  readonly taskId: string;
  /** JSON text; `null` for a failure. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** null: never expires. */
  readonly ttlMs: number | null;
  readonly keep: boolean;
}

interface StoreItem extends BatchItem {
  readonly row: StoreRow;
  readonly calls: readonly Call<void>[];
}

export interface WriterParts {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly closed$: Observable<never>;
  /** Present if this process announces what it stores. */
  readonly notifier: Notifier | undefined;
}

/** Stores outcomes, many in one statement. A call resolves after the commit of its own row, and rejects only for its own row's fault. */
export class Writer {
  readonly #parts: WriterParts;
  readonly #batcher: Batcher<StoreItem>;
  readonly #texts: Record<"replace" | "keep" | "replaceLoud" | "keepLoud", string>;
  #statements = 0;
  #rows = 0;
  #retries = 0;

  constructor(parts: WriterParts) {
    this.#parts = parts;
    const { batch, schema, inlineResultBytes, notify } = parts.options;
    const text = (variant: Omit<StoreVariant, "inlineBytes">): string =>
      storeStatement(schema, { ...variant, inlineBytes: inlineResultBytes });
    const silent = notify === "deferred";
    this.#texts = {
      replace: text({ keep: false, silent }),
      keep: text({ keep: true, silent }),
      // In a caller's transaction only the trigger knows when, and whether, it commits.
      replaceLoud: text({ keep: false, silent: false }),
      keepLoud: text({ keep: true, silent: false }),
    };
    this.#batcher = new Batcher<StoreItem>({
      maxItems: batch.maxRows,
      maxBytes: batch.maxBytes,
      inFlight: batch.inFlight,
      // Two statements with the same row could commit in either order, and the last call has to win.
      exclusiveKeys: true,
      merge: (queued, added) => ({ ...(added.row.keep ? queued : added), calls: [...queued.calls, ...added.calls] }),
      run: (items) => this.#run(items),
    });
  }

  get counters(): { statements: number; rows: number; retries: number; queued: number; inFlight: number } {
    const { queued, inFlight } = this.#batcher;
    return { statements: this.#statements, rows: this.#rows, retries: this.#retries, queued, inFlight };
  }

  async store(row: StoreRow): Promise<void> {
    const { retryTimeoutMs } = this.#parts.options;
    const late = (): Error =>
      new DatabaseError(
        `Could not store results: nothing was confirmed within ${retryTimeoutMs} ms. They may be stored nevertheless.`,
        undefined,
        true,
      );
    const call = new Call<void>(this.#parts.deadlines, retryTimeoutMs, late);
    const bytes = Buffer.byteLength(row.result) + Buffer.byteLength(row.error ?? "");
    this.#batcher.add({ key: row.taskId, bytes, row, calls: [call] });
    return call.promise;
  }

  /** Stores by a client of the caller's: at once, once, and as part of whatever transaction it is in. */
  async storeWith(client: SqlClient, row: StoreRow): Promise<void> {
    const { text, values, purpose } = storeQuery(row.keep ? this.#texts.keepLoud : this.#texts.replaceLoud, [row]);
    try {
      await client.query(text, [...values]);
    } catch (error) {
      throw rowError(this.#parts.database.wrap(error, purpose), row.taskId);
    }
  }

  /** Resolves once everything that was asked for is stored or has failed. */
  async drain(): Promise<void> {
    await this.#batcher.drain();
    await this.#parts.notifier?.drain();
  }

  async #run(items: StoreItem[]): Promise<void> {
    const dueAt = performance.now() + this.#parts.options.retryTimeoutMs;
    // In the order of their ids, as in every other process: batches that take row locks in different orders deadlock.
    items.sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const keep of [false, true])
      await this.#storeAll(
        items.filter((item) => item.row.keep === keep),
        keep,
        dueAt,
      );
  }

  /** Stores items in one statement; if a row is at fault, in halves, until it is alone and only its own callers hear of it. */
  async #storeAll(items: readonly StoreItem[], keep: boolean, dueAt: number): Promise<void> {
    if (items.length === 0) return;
    try {
      await this.#send(items, keep, dueAt);
      this.#rows += items.length;
      for (const { calls } of items) for (const call of calls) call.resolve();
    } catch (error) {
      if (items.length > 1 && error instanceof DatabaseError && isRowFault(error.sqlState)) {
        const middle = items.length >> 1;
        await this.#storeAll(items.slice(0, middle), keep, dueAt);
        await this.#storeAll(items.slice(middle), keep, dueAt);
        return;
      }
      for (const { row, calls } of items) for (const call of calls) call.reject(rowError(error, row.taskId));
    }
  }

  async #send(items: readonly StoreItem[], keep: boolean, dueAt: number): Promise<void> {
    const { database, schemaCheck, closed$, notifier, options } = this.#parts;
    const query = storeQuery(
      keep ? this.#texts.keep : this.#texts.replace,
      items.map(({ row }) => row),
    );
    const attempt = async (): Promise<unknown> => {
      // Half the time at most for one try, so that a connection that is dead without anybody knowing leaves time for another.
      const attemptMs = options.retryTimeoutMs / 2;
      await schemaCheck.pass(attemptMs);
      this.#statements += 1;
      return database.query(query, attemptMs);
    };
    await retryTransient(attempt, { dueAt, closed$, onRetry: () => (this.#retries += 1) });
    notifier?.announce(items.map(({ key }) => key));
  }
}

function storeQuery(text: string, rows: readonly StoreRow[]): Query {
  const values = [
    rows.map((row) => row.taskId),
    rows.map((row) => row.result),
    rows.map((row) => row.error),
    rows.map((row) => row.ttlMs),
  ];
  return { purpose: "store results", text, values };
}

const encodingStates: ReadonlySet<string | undefined> = new Set([
  "22P02", // invalid_text_representation
  "22P05", // untranslatable_character
  "22003", // numeric_value_out_of_range
  sqlStates.programLimitExceeded,
  sqlStates.statementTooComplex,
]);

/** What jsonb turned out not to hold, for a reason that is not checked here (depth, number of keys, the server's encoding), is the value's fault. */
function rowError(error: unknown, taskId: string): unknown {
  if (!(error instanceof DatabaseError) || !encodingStates.has(error.sqlState)) return error;
  const reason = error.cause instanceof Error ? error.cause.message : error.message;
  return new ResultEncodingError(taskId, `Postgres cannot hold it as jsonb (${reason})`, { cause: error });
}
