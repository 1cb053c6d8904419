import { backoffMs, isLate, isTransient, toReport } from "../database/retry";
import { sqlStates } from "../database/sql-states";
import { BackendClosedError, DatabaseError } from "../errors";
import { Batcher } from "../waiting/batcher";
import { RowSender, type WriteParts } from "./attempts";
import {
  encodingError,
  isLocked,
  isStatementError,
  isWholeSchemaError,
  mayReachAnotherServer,
  mayRetry,
} from "./write-errors";
import { WriteCall, type WriteItem } from "./write-item";

/** Most rows, and most bytes of JSON, in the queue. Further rows wait outside it, within their own time limits. */
const maxQueuedRows = 100_000;
const maxQueuedBytes = 128 * 1024 * 1024;
/** Delays between the attempts for a row. */
const firstDelayMs = 50;
const longestDelayMs = 2_000;

/** Counters of writes of one kind since the backend was created. */
export interface WriteCounters {
  readonly statements: number;
  /** Rows that were written. */
  readonly rows: number;
  readonly retries: number;
  /**
   * Rows that were written without a notification, because the notification queue was full or its lock was held for too
   * long. They are announced afterwards if possible; otherwise a sweep finds them.
   */
  readonly unnotified: number;
  /** Rows that wait for a statement or for their next attempt. At most 100 000, and 128 MiB of JSON. */
  readonly queued: number;
  /** Rows that wait for space in that queue. */
  readonly waiting: number;
  /** Statements in flight. */
  readonly inFlight: number;
}

/**
 * Writes rows, many in one statement. A call resolves after the commit of its own row, and rejects only for an error of
 * that row.
 *
 * The first statement takes all queued rows. If it fails, a second statement has the server write the same rows one by
 * one, which finds all faulty rows in one round trip. Locked rows are then retried in separate statements, so that they
 * do not delay other rows.
 */
export abstract class BatchedWriter<Row extends { readonly taskId: string }, Outcome> extends RowSender<Row, Outcome> {
  /** Name of the rows for error messages, such as "results". */
  protected abstract readonly what: string;
  readonly #batcher: Batcher<WriteItem<Row, Outcome>>;
  /**
   * Rows that are retried because each of them failed with a transient error. The batcher holds their keys meanwhile.
   */
  readonly #troubled: Batcher<WriteItem<Row, Outcome>>;
  /**
   * Creates the error of a call that was not settled in time. Shared by all calls, which are many and rarely need it.
   */
  readonly #late: () => Error;
  #rows = 0;
  #retries = 0;

  protected constructor(parts: WriteParts) {
    super(parts);
    this.#late = () => this.#lateError(this.lastError);
    const { maxRows, maxBytes, inFlight } = parts.options.batch;
    const merge = (queued: WriteItem<Row, Outcome>, added: WriteItem<Row, Outcome>): WriteItem<Row, Outcome> =>
      queued.absorb(added);
    const common = { maxItems: maxRows, maxBytes, merge };
    this.#batcher = new Batcher<WriteItem<Row, Outcome>>({
      ...common,
      inFlight,
      maxQueuedItems: maxQueuedRows,
      maxQueuedBytes,
      // Two statements with the same row could commit in either order, but the last call must win.
      exclusiveKeys: true,
      run: (items) => (items.length === 1 ? this.#write(items) : this.#writeInOrder(items)),
    });
    this.#troubled = new Batcher<WriteItem<Row, Outcome>>({
      ...common,
      inFlight: 1,
      exclusiveKeys: false,
      run: (items) => this.#writeTroubled(items),
    });
  }

  get counters(): WriteCounters {
    const { queued, waiting, inFlight } = this.#batcher;
    return {
      statements: this.statements,
      rows: this.#rows,
      retries: this.#retries,
      unnotified: this.unnotified,
      queued,
      waiting,
      inFlight: inFlight + this.#troubled.inFlight,
    };
  }

  /** Returns the kind of a row. Rows of different kinds do not share a statement. */
  protected abstract kindOf(row: Row): string;

  /** Creates a call that waits for an item to be written. */
  protected createCall<T>(): WriteCall<T> {
    return new WriteCall<T>(this.parts.deadlines, this.parts.options.retryTimeoutMs, this.#late);
  }

  /** Queues an item, to be written in its turn. */
  protected enqueue(item: WriteItem<Row, Outcome>): void {
    this.#batcher.add(item);
  }

  /**
   * Resolves once every call has been settled. No attempt lasts beyond `endsAt`, on the clock of `performance.now()`.
   */
  async drain(endsAt = Infinity): Promise<void> {
    this.endsAt = endsAt;
    await this.#batcher.drain();
  }

  /** Rejects what is queued, and sends nothing more. */
  close(): void {
    this.isClosed = true;
    const error = new BackendClosedError();
    for (const item of [...this.#batcher.clear(), ...this.#troubled.clear()]) item.reject(error);
  }

  #lateError(cause: DatabaseError | undefined): DatabaseError {
    const { retryTimeoutMs } = this.parts.options;
    const message = `Could not store ${this.what}: nothing was confirmed within ${retryTimeoutMs} ms. It may have been stored.`;
    return new DatabaseError(message, cause?.sqlState, true, cause === undefined ? undefined : { cause });
  }

  /** Forgets an item whose calls have all been rejected. */
  protected readonly abandon = (item: WriteItem<Row, Outcome>): void => {
    this.#batcher.remove(item);
    this.#troubled.remove(item);
    if (item.isResting) this.#batcher.release(item);
  };

  async #writeInOrder(items: WriteItem<Row, Outcome>[]): Promise<void> {
    // Every process sorts by key, since batches that lock rows in different orders deadlock.
    items.sort(byKey);
    // Computed before the first statement: during it, a rejected call may leave another row in its item.
    const kinds = items.map(({ row }) => this.kindOf(row));
    for (const kind of new Set(kinds)) await this.#write(items.filter((_, index) => kinds[index] === kind));
  }

  /** Writes items in one statement, all of them or none; settles them, except those that are then held. */
  #write(items: readonly WriteItem<Row, Outcome>[]): Promise<void> {
    return this.attemptTogether(items)
      .then(({ outcomes, times }) =>
        items.forEach((item, index) => this.#settle(item, outcomes[index] as Outcome | Error, times[index])),
      )
      .catch((error: unknown) => this.#recover(items, error));
  }

  /** Writes items that have waited for their next attempt. */
  async #writeTroubled(items: WriteItem<Row, Outcome>[]): Promise<void> {
    items.sort(byKey);
    await this.#recover(items);
    for (const item of items) if (!item.isResting) this.#batcher.release(item);
  }

  /**
   * Writes items so that each fails alone: those of a statement that has failed as a whole, or those that may fail.
   * Errors of the session concern all of them, so they are waited out here: what is queued meanwhile would fare no
   * better. Not by the first statement for rows, which would also write over what was stored after the calls.
   *
   * @param firstError - Why the statement failed; undefined if items are known to be troubled.
   */
  async #recover(items: readonly WriteItem<Row, Outcome>[], firstError?: unknown): Promise<void> {
    let error = firstError;
    let isOneByOne = error === undefined && items.length > 1;
    for (let attempts = error === undefined ? 0 : 1; ; attempts += 1) {
      const left = items.filter(({ isOpen }) => isOpen);
      const [only] = left;
      if (only === undefined) return;
      if (attempts > 0 && (this.isClosed || !mayRetry(error, left.length, attempts))) {
        this.#reject(left, error);
        return;
      }
      if (isStatementError(error)) {
        if (isLate(error)) this.parts.clock.invalidate();
        // Retry a locked row separately, so that it does not delay other rows.
        if (left.length === 1 && attempts === 1 && isLocked(error)) {
          this.#rest(only, error);
          return;
        }
        isOneByOne = left.length > 1;
      } else if (mayReachAnotherServer(error)) this.parts.clock.invalidate();
      if (isTransient(error) && !(attempts === 1 && isStatementError(error)) && !(await this.#pause(attempts, left))) {
        this.#reject(left, error);
        return;
      }
      try {
        await this.#writeEach(left, isOneByOne, error);
        return;
      } catch (nextError) {
        if (isStatementError(nextError) && !isTransient(nextError)) {
          await this.#divide(left, isOneByOne && error !== undefined ? error : nextError, nextError);
          return;
        }
        error = nextError;
      }
    }
  }

  /**
   * Writes items of which some cannot even be sent, in halves: no statement reaches a row with a character that the
   * database's encoding does not have.
   */
  async #divide(items: readonly WriteItem<Row, Outcome>[], firstError: unknown, error: unknown): Promise<void> {
    if (items.length === 1 || isWholeSchemaError(error)) {
      this.#reject(items, firstError);
      return;
    }
    const middle = items.length >> 1;
    await this.#recover(items.slice(0, middle));
    await this.#recover(items.slice(middle));
  }

  /** Writes items so that each fails alone. Items with transient errors are held for a retry. */
  async #writeEach(items: readonly WriteItem<Row, Outcome>[], isOneByOne: boolean, cause: unknown): Promise<void> {
    // This code most likely means that the notification queue is full, although a row can also cause it.
    const isQueueFull = cause instanceof DatabaseError && cause.sqlState === sqlStates.programLimitExceeded;
    if (isTransient(cause)) {
      this.#retries += 1;
      this.lastError = cause;
      for (const item of items) item.lastError = toReport(cause, item.lastError);
    }
    const { outcomes, times } = await this.attemptEach(items, isOneByOne, isQueueFull);
    items.forEach((item, index) => {
      const outcome = outcomes[index] as Outcome | Error;
      if (isTransient(outcome) && item.isOpen) {
        if (isLate(outcome)) this.parts.clock.invalidate();
        this.#rest(item, outcome);
      } else this.#settle(item, outcome, times[index]);
    });
  }

  /** @param time - The server's time by which the row was written. */
  #settle(item: WriteItem<Row, Outcome>, outcome: Outcome | Error, time: number | undefined): void {
    if (time !== undefined) for (const later of this.#batcher.queuedOf(item.key)) later.follow(time);
    if (outcome instanceof Error) item.reject(encodingError(outcome, item.row.taskId));
    else {
      this.#rows += 1;
      item.resolve(outcome);
    }
  }

  #reject(items: readonly WriteItem<Row, Outcome>[], error: unknown): void {
    for (const item of items) {
      // Without the closing there would be time for another attempt.
      const isCutShort = isTransient(error) && this.endsAt < item.dueAt;
      const cause = toReport(error, item.lastError);
      item.reject(isCutShort ? new BackendClosedError({ cause }) : encodingError(cause, item.row.taskId));
    }
  }

  /** Holds an item until its next attempt. */
  #rest(item: WriteItem<Row, Outcome>, latest: DatabaseError): void {
    const error = toReport(latest, item.lastError);
    item.lastError = error;
    item.failures += 1;
    const delayMs = backoffMs(item.failures, firstDelayMs, longestDelayMs);
    if (this.isClosed || performance.now() + delayMs >= Math.min(item.dueAt, this.endsAt)) {
      this.#reject([item], error);
      return;
    }
    item.lateError = () => this.#lateError(error);
    item.isResting = true;
    this.#batcher.hold(item);
    this.#after(delayMs, (reason) => {
      item.isResting = false;
      if (!item.isOpen) return;
      if (reason !== undefined) {
        item.reject(reason);
        this.#batcher.release(item);
        return;
      }
      this.#retries += 1;
      this.#troubled.add(item);
    });
  }

  /** Waits before the next attempt. Resolves with false if no time would be left for it. */
  async #pause(attempts: number, items: readonly WriteItem<Row, Outcome>[]): Promise<boolean> {
    const delayMs = backoffMs(attempts, firstDelayMs, longestDelayMs);
    const dueAt = Math.min(Math.max(...items.map((item) => item.dueAt)), this.endsAt);
    if (performance.now() + delayMs >= dueAt) return false;
    await new Promise<void>((resolve) => this.#after(delayMs, () => resolve()));
    return true;
  }

  #after(delayMs: number, expire: (reason?: unknown) => void): void {
    this.parts.deadlines.add({ dueAt: performance.now() + delayMs, heapIndex: -1, expire });
  }
}

const byKey = (a: { readonly key: string }, b: { readonly key: string }): number => (a.key < b.key ? -1 : 1);
