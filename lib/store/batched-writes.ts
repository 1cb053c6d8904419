import type { Observable } from "rxjs";
import { type BatchItem, Batcher } from "../batcher";
import { Call } from "../call";
import { retryTransient } from "../database/retry";
import { isRowFault } from "../database/sql-states";
import type { Deadlines } from "../deadlines";
import { DatabaseError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { Announcements, Announcer } from "./announcements";
import { SilentFallback } from "./silent-fallback";

/** What every kind of write needs. */
export interface WriteParts {
  readonly options: ResolvedOptions;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly closed$: Observable<never>;
  readonly announcements: Announcements;
  /** Told of the size of each statement; for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

export interface WriteRules<Row, Outcome> {
  /** What is written, for error messages: "results". */
  readonly what: string;
  /** Of two rows with the same key, the one that counts. */
  readonly merge: (queued: Row, added: Row) => Row;
  /** Rows that may not share a statement are in different groups; usually one group. */
  readonly split: (row: Row) => string;
  /**
   * Writes rows in one statement, which notifies unless it is to be silent; gives what came of each, in their order. An outcome that is an error rejects its own
   * callers.
   */
  readonly send: (rows: readonly Row[], isSilent: boolean, timeoutMs: number) => Promise<readonly (Outcome | Error)[]>;
  /** Announces what has been committed. */
  readonly announce: (rows: readonly Row[], announcer: Announcer) => void;
  /** The error for the callers of one row, from that of its statement. */
  readonly rowError: (error: unknown, row: Row) => unknown;
}

interface WriteItem<Row, Outcome> extends BatchItem {
  readonly row: Row;
  readonly calls: readonly Call<Outcome>[];
}

/** Writes of one kind since the backend was made. */
export interface WriteCounters {
  readonly statements: number;
  /** Rows that were written. */
  readonly rows: number;
  readonly retries: number;
  /**
   * Rows whose statement was sent again without its notification, because the notification would have failed it: the queue was full, or its lock was held for too
   * long. They are announced afterwards if that is possible; else the waiters' sweep finds them.
   */
  readonly unnotified: number;
  /** Rows that wait for a statement to take them. */
  readonly queued: number;
  /** Statements under way. */
  readonly inFlight: number;
}

/** Writes rows, many in one statement. A call resolves after the commit of its own row, and rejects only for its own row's fault. */
export class BatchedWrites<Row, Outcome> {
  readonly #parts: WriteParts;
  readonly #rules: WriteRules<Row, Outcome>;
  readonly #batcher: Batcher<WriteItem<Row, Outcome>>;
  /** The error of a call that nobody settled in time. One function for all: they are many, and it is rarely called. */
  readonly #late: () => Error;
  /** Why the latest attempt failed; undefined once one has succeeded. */
  #lastError: DatabaseError | undefined;
  #statements = 0;
  #rows = 0;
  #retries = 0;
  #unnotified = 0;

  constructor(parts: WriteParts, rules: WriteRules<Row, Outcome>) {
    this.#parts = parts;
    this.#rules = rules;
    this.#late = () =>
      new DatabaseError(
        `Could not store ${rules.what}: nothing was confirmed within ${parts.options.retryTimeoutMs} ms. It may be stored nevertheless.`,
        this.#lastError?.sqlState,
        true,
        this.#lastError === undefined ? undefined : { cause: this.#lastError },
      );
    const { maxRows, maxBytes, inFlight } = parts.options.batch;
    this.#batcher = new Batcher<WriteItem<Row, Outcome>>({
      maxItems: maxRows,
      maxBytes,
      inFlight,
      // Two statements with the same row could commit in either order, and the last call has to win.
      exclusiveKeys: true,
      merge: (queued, added) => {
        const row = rules.merge(queued.row, added.row);
        return { ...(row === queued.row ? queued : added), calls: [...queued.calls, ...added.calls] };
      },
      run: (items) => this.#run(items),
    });
  }

  get counters(): WriteCounters {
    const { queued, inFlight } = this.#batcher;
    return {
      statements: this.#statements,
      rows: this.#rows,
      retries: this.#retries,
      unnotified: this.#unnotified,
      queued,
      inFlight,
    };
  }

  write(key: string, bytes: number, row: Row): Promise<Outcome> {
    const call = new Call<Outcome>(this.#parts.deadlines, this.#parts.options.retryTimeoutMs, this.#late);
    this.#batcher.add({ key, bytes, row, calls: [call] });
    return call.promise;
  }

  /** Resolves once everything that was asked for is written or has failed. */
  async drain(): Promise<void> {
    await this.#batcher.drain();
  }

  #run(items: WriteItem<Row, Outcome>[]): Promise<void> {
    const dueAt = performance.now() + this.#parts.options.retryTimeoutMs;
    return items.length === 1 ? this.#writeAll(items, dueAt) : this.#writeInOrder(items, dueAt);
  }

  async #writeInOrder(items: WriteItem<Row, Outcome>[], dueAt: number): Promise<void> {
    // In the order of their keys, as in every other process: batches that take row locks in different orders deadlock.
    items.sort((a, b) => (a.key < b.key ? -1 : 1));
    const statements = new Map<string, WriteItem<Row, Outcome>[]>();
    for (const item of items) {
      const name = this.#rules.split(item.row);
      const statement = statements.get(name);
      if (statement === undefined) statements.set(name, [item]);
      else statement.push(item);
    }
    for (const statement of statements.values()) await this.#writeAll(statement, dueAt);
  }

  /** Writes items in one statement; if a row is at fault, in halves, until it is alone and only its own callers hear of it. */
  async #writeAll(items: readonly WriteItem<Row, Outcome>[], dueAt: number): Promise<void> {
    try {
      const rows = items.map(({ row }) => row);
      const outcomes = await this.#send(rows, dueAt);
      this.#rows += items.length;
      items.forEach(({ calls }, index) => settle(calls, outcomes[index] as Outcome | Error));
    } catch (error) {
      if (items.length > 1 && error instanceof DatabaseError && isRowFault(error.sqlState)) {
        const middle = items.length >> 1;
        await this.#writeAll(items.slice(0, middle), dueAt);
        await this.#writeAll(items.slice(middle), dueAt);
        return;
      }
      for (const { row, calls } of items) for (const call of calls) call.reject(this.#rules.rowError(error, row));
    }
  }

  #send(rows: readonly Row[], dueAt: number): Promise<readonly (Outcome | Error)[]> {
    const { schemaCheck, closed$, announcements } = this.#parts;
    let fallback: SilentFallback | undefined;
    const send = (attemptMs: number): Promise<readonly (Outcome | Error)[]> => {
      fallback ??= new SilentFallback(announcements.isSilent);
      return fallback.send((isSilent) => {
        this.#statements += 1;
        this.#parts.countBatch?.(rows.length);
        return this.#rules.send(rows, isSilent, attemptMs);
      });
    };
    const attempt = (attemptMs: number): Promise<readonly (Outcome | Error)[]> =>
      schemaCheck.isGood ? send(attemptMs) : schemaCheck.pass(attemptMs).then(() => send(attemptMs));
    const onRetry = (error: DatabaseError): void => {
      this.#retries += 1;
      this.#lastError = error;
    };
    return retryTransient(attempt, { dueAt, closed$, onRetry }).then((outcomes) => {
      this.#lastError = undefined;
      const wasSilent = fallback?.isSilent === true;
      const announcer = announcements.after(wasSilent);
      if (announcer !== undefined) this.#rules.announce(rows, announcer);
      if (wasSilent && !announcements.isSilent) this.#unnotified += rows.length;
      return outcomes;
    });
  }
}

function settle<Outcome>(calls: readonly Call<Outcome>[], outcome: Outcome | Error): void {
  for (const call of calls) {
    if (outcome instanceof Error) call.reject(outcome);
    else call.resolve(outcome);
  }
}
