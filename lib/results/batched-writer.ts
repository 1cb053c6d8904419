import { backoffMs, isLate, isTransient, toReport } from "../database/retry";
import { sqlStates } from "../database/sql-states";
import { BackendClosedError, DatabaseError } from "../errors";
import { Batcher } from "../waiting/batcher";
import { Notifying } from "./announcements";
import type { EachAttempt, FirstAttempt, GuardedRow, WriteCounters, WriteParts, Written } from "./attempts";
import {
  attemptTimeoutMs,
  firstDelayMs,
  lockBudgetMs,
  longestDelayMs,
  maxQueuedBytes,
  maxQueuedRows,
  shortestLockWaitMs,
} from "./limits";
import { isLocked, isStatementError, isWholeSchemaError, mayReachAnotherServer, mayRetry } from "./write-errors";
import { calledTimes, WriteCall, WriteItem } from "./write-item";

/**
 * Writes rows, many in one statement. A call resolves after the commit of its own row, and rejects only for its own
 * row's fault.
 *
 * The first statement for a row takes all that are queued. When it fails, the server is asked to write its rows one by
 * one: one round trip then tells the good rows from the bad ones, however many there are. Rows that are merely locked
 * go on alone, in statements of their own, so that they hold up nothing else.
 */
export abstract class BatchedWriter<Row, Outcome> {
  /** What is written, for error messages: "results". */
  protected abstract readonly what: string;
  protected readonly parts: WriteParts;
  readonly #batcher: Batcher<WriteItem<Row, Outcome>>;
  /** Rows that failed for a time, each for itself. The batcher holds their keys meanwhile. */
  readonly #troubled: Batcher<WriteItem<Row, Outcome>>;
  /** The error of a call that was not settled in time. One function for all: they are many, and it is rarely called. */
  readonly #late: () => Error;
  /** Why the latest attempt failed; undefined once one has succeeded. */
  #lastError: DatabaseError | undefined;
  /** No attempt goes on after this. */
  #endsAt = Infinity;
  #isClosed = false;
  #statements = 0;
  #rows = 0;
  #retries = 0;
  #unnotified = 0;

  protected constructor(parts: WriteParts) {
    this.parts = parts;
    this.#late = () => this.#lateError(this.#lastError);
    const { maxRows, maxBytes, inFlight } = parts.options.batch;
    const merge = (queued: WriteItem<Row, Outcome>, added: WriteItem<Row, Outcome>): WriteItem<Row, Outcome> =>
      queued.absorb(added);
    const common = { maxItems: maxRows, maxBytes, merge };
    this.#batcher = new Batcher<WriteItem<Row, Outcome>>({
      ...common,
      inFlight,
      maxQueuedItems: maxQueuedRows,
      maxQueuedBytes,
      // Two statements with the same row could commit in either order, and the last call has to win.
      exclusiveKeys: true,
      run: (items) => (items.length === 1 ? this.#write(items) : this.#writeInOrder(items)),
    });
    this.#troubled = new Batcher<WriteItem<Row, Outcome>>({
      ...common,
      inFlight: 1,
      exclusiveKeys: false,
      run: (items) => this.#runTroubled(items),
    });
  }

  get counters(): WriteCounters {
    const { queued, waiting, inFlight } = this.#batcher;
    return {
      statements: this.#statements,
      rows: this.#rows,
      retries: this.#retries,
      unnotified: this.#unnotified,
      queued,
      waiting,
      inFlight: inFlight + this.#troubled.inFlight,
    };
  }

  /** Of two rows with the same key, the one that counts. */
  protected abstract merge(queued: Row, added: Row): Row;
  /** Writes rows of one kind in one statement. */
  protected abstract send(rows: readonly Row[], attempt: FirstAttempt): Promise<Written<Outcome>>;
  /**
   * The same, where an earlier statement may have written the rows, or one of them made it fail. The error of a row is
   * what it would have failed with alone.
   */
  protected abstract sendEach(rows: readonly GuardedRow<Row>[], attempt: EachAttempt): Promise<Written<Outcome>>;
  /** Announces rows that are committed, and that may have been notified. */
  protected abstract announce(rows: readonly Row[], sent: { readonly notified: boolean }): void;
  /** The error for the callers of one row, from that of its statement. */
  protected abstract rowError(error: unknown, row: Row): unknown;
  /** Rows of different kinds do not share a statement. */
  protected abstract kindOf(row: Row): string;

  protected write(key: string, bytes: number, row: Row): Promise<Outcome> {
    const call = new WriteCall<Outcome>(this.parts.deadlines, this.parts.options.retryTimeoutMs, this.#late);
    this.#batcher.add(new WriteItem(key, bytes, row, call, this.#merge, this.#abandon));
    return call.promise;
  }

  /**
   * Resolves once everything that was asked for is written or has failed. No attempt goes on after `endsAt`, on the
   * clock of `performance.now()`.
   */
  async drain(endsAt = Infinity): Promise<void> {
    this.#endsAt = endsAt;
    await this.#batcher.drain();
  }

  /** Rejects what is queued, and sends nothing more. */
  close(): void {
    this.#isClosed = true;
    const error = new BackendClosedError();
    for (const item of [...this.#batcher.clear(), ...this.#troubled.clear()]) item.reject(error);
  }

  #lateError(cause: DatabaseError | undefined): DatabaseError {
    const { retryTimeoutMs } = this.parts.options;
    const message = `Could not store ${this.what}: nothing was confirmed within ${retryTimeoutMs} ms. It may be stored nevertheless.`;
    return new DatabaseError(message, cause?.sqlState, true, cause === undefined ? undefined : { cause });
  }

  readonly #merge = (queued: Row, added: Row): Row => this.merge(queued, added);

  readonly #abandon = (item: WriteItem<Row, Outcome>): void => {
    this.#batcher.remove(item);
    this.#troubled.remove(item);
    if (item.isResting) this.#batcher.release(item);
  };

  async #writeInOrder(items: WriteItem<Row, Outcome>[]): Promise<void> {
    // In the order of their keys, as in every other process: batches that take row locks in different orders deadlock.
    items.sort(byKey);
    // Asked first: while one statement is under way, a rejected call may leave its item another row.
    const kinds = items.map(({ row }) => this.kindOf(row));
    for (const kind of new Set(kinds)) await this.#write(items.filter((_, index) => kinds[index] === kind));
  }

  /** Writes items in one statement; settles all of them, except those that are then held. */
  #write(items: readonly WriteItem<Row, Outcome>[]): Promise<void> {
    return this.#sendTogether(items).then(
      (written) => this.#settle(items, written),
      (error: unknown) => this.#recover(items, error),
    );
  }

  /**
   * Writes items whose statement has failed. Errors of the session concern all of them, so they are waited out here:
   * what is queued meanwhile would fare no better.
   */
  async #recover(items: readonly WriteItem<Row, Outcome>[], firstError: unknown): Promise<void> {
    let error = firstError;
    let isOneByOne = false;
    for (let attempts = 1; ; attempts += 1) {
      const left = items.filter(({ isOpen }) => isOpen);
      const [only] = left;
      if (only === undefined) return;
      if (this.#isClosed || !mayRetry(error, left.length, attempts)) {
        this.#reject(left, error);
        return;
      }
      if (isStatementError(error)) {
        if (isLate(error)) this.parts.clock.invalidate();
        // A lock that one row waited for in vain is waited for besides, and not in the place of other rows.
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
        // Such as a character that the database's encoding does not have: no statement with that row reaches it.
        if (isStatementError(nextError) && !isTransient(nextError))
          return this.#divide(left, isOneByOne ? error : nextError, nextError);
        error = nextError;
      }
    }
  }

  /**
   * Writes items of which some cannot even be sent, in halves. Not by the first statement for rows, which would also
   * write over what was stored after the calls.
   */
  async #divide(items: readonly WriteItem<Row, Outcome>[], firstError: unknown, error: unknown): Promise<void> {
    if (items.length === 1 || isWholeSchemaError(error)) {
      this.#reject(items, firstError);
      return;
    }
    const middle = items.length >> 1;
    for (const half of [items.slice(0, middle), items.slice(middle)]) {
      try {
        await this.#writeEach(half, half.length > 1, undefined);
      } catch (halfError) {
        if (isStatementError(halfError) && !isTransient(halfError)) await this.#divide(half, halfError, halfError);
        else await this.#recover(half, halfError);
      }
    }
  }

  async #runTroubled(items: WriteItem<Row, Outcome>[]): Promise<void> {
    items.sort(byKey);
    const left = items.filter(({ isOpen }) => isOpen);
    for (const item of items) if (!item.isOpen) this.#batcher.release(item);
    if (left.length === 0) return;
    try {
      await this.#writeEach(left, left.length > 1, undefined);
    } catch (error) {
      if (mayReachAnotherServer(error)) this.parts.clock.invalidate();
      for (const item of left) {
        if (isTransient(error)) this.#rest(item, error);
        else this.#reject([item], error);
      }
    }
    for (const item of left) if (!item.isResting) this.#batcher.release(item);
  }

  /** Writes items so that each fails alone. Those that may fare better later are held until then. */
  async #writeEach(items: readonly WriteItem<Row, Outcome>[], isOneByOne: boolean, cause: unknown): Promise<void> {
    // A full queue of notifications, and not a row, is the likely reason for this code, though it may be either.
    const isQueueFull = cause instanceof DatabaseError && cause.sqlState === sqlStates.programLimitExceeded;
    if (isTransient(cause)) {
      this.#retries += 1;
      this.#lastError = cause;
      for (const item of items) item.lastError = toReport(cause, item.lastError);
    }
    const { outcomes, times } = await this.#sendEach(items, isOneByOne, isQueueFull);
    const isSettled = items.map((item, index) => {
      const outcome = outcomes[index];
      if (!isTransient(outcome) || !item.isOpen) return true;
      if (isLate(outcome)) this.parts.clock.invalidate();
      this.#rest(item, outcome);
      return false;
    });
    const settled = <T>(all: readonly T[]): T[] => all.filter((_, index) => isSettled[index]);
    this.#settle(settled(items), { outcomes: settled(outcomes), times: settled(times) });
  }

  #settle(items: readonly WriteItem<Row, Outcome>[], { outcomes, times }: Written<Outcome>): void {
    items.forEach((item, index) => {
      const outcome = outcomes[index] as Outcome | Error;
      const time = times[index];
      if (time !== undefined) for (const later of this.#batcher.queuedOf(item.key)) later.follow(time);
      if (outcome instanceof Error) item.reject(this.rowError(outcome, item.row));
      else {
        this.#rows += 1;
        item.resolve(outcome);
      }
    });
  }

  #reject(items: readonly WriteItem<Row, Outcome>[], error: unknown): void {
    for (const item of items) {
      // There would be time for another attempt if the backend were not closing.
      const isCutShort = isTransient(error) && this.#endsAt < item.dueAt;
      const cause = toReport(error, item.lastError);
      item.reject(isCutShort ? new BackendClosedError({ cause }) : this.rowError(cause, item.row));
    }
  }

  /** Holds an item until its next attempt. */
  #rest(item: WriteItem<Row, Outcome>, latest: DatabaseError): void {
    const error = toReport(latest, item.lastError);
    item.lastError = error;
    item.failures += 1;
    const delayMs = backoffMs(item.failures, firstDelayMs, longestDelayMs);
    if (this.#isClosed || performance.now() + delayMs >= Math.min(item.dueAt, this.#endsAt)) {
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

  /** Waits before the next attempt; gives false if there would be no time left for one. */
  async #pause(attempts: number, items: readonly WriteItem<Row, Outcome>[]): Promise<boolean> {
    const delayMs = backoffMs(attempts, firstDelayMs, longestDelayMs);
    const dueAt = Math.min(Math.max(...items.map((item) => item.dueAt)), this.#endsAt);
    if (performance.now() + delayMs >= dueAt) return false;
    await new Promise<void>((resolve) => this.#after(delayMs, () => resolve()));
    return true;
  }

  #after(delayMs: number, expire: (reason?: unknown) => void): void {
    this.parts.deadlines.add({ timeoutMs: delayMs, expire });
  }

  /** The first statement for rows: it writes all of them, or none. */
  #sendTogether(items: readonly WriteItem<Row, Outcome>[]): Promise<Written<Outcome>> {
    const rows = items.map(({ row }) => row);
    const { announcements, clock } = this.parts;
    const { notifies } = announcements;
    const [endsAt, lastsMs] = this.#limits(items, false);
    return this.#whenReady(endsAt, lastsMs, (timeoutMs, giveUpAt) => {
      this.#statements += 1;
      this.parts.countBatch?.(rows.length);
      const upper = clock.upperBySample;
      return this.send(rows, { timeoutMs, giveUpAt, notifies, calledAt: () => calledTimes(items, upper) });
    }).then((written) => {
      this.#announce(rows, notifies);
      return written;
    });
  }

  #sendEach(
    items: readonly WriteItem<Row, Outcome>[],
    isOneByOne: boolean,
    isQueueFull: boolean,
  ): Promise<Written<Outcome>> {
    const { announcements, clock, options } = this.parts;
    const [endsAt, lastsMs] = this.#limits(items, true);
    // So that the server says that a row is locked before the client gives up, which would cost the connection.
    const longestLockMs = Math.max(1, Math.min(attemptTimeoutMs(options) / 2, lastsMs / 2));
    const budgetMs = Math.max(1, Math.min(lockBudgetMs, lastsMs / 2));
    const rowLockMs = Math.min(longestLockMs, Math.max(shortestLockWaitMs, budgetMs / items.length));
    const send = (notifies: boolean): Promise<Written<Outcome>> =>
      this.#whenReady(endsAt, lastsMs, (timeoutMs, giveUpAt) => {
        const upper = (localMs: number): number => clock.upper(localMs);
        const rows = items.map((item) => ({
          row: item.row,
          calledAt: item.replacesUntil(upper),
          dueAt: Math.min(giveUpAt, clock.lower(item.dueAt) / 1e6),
        }));
        this.#statements += 1;
        this.parts.countBatch?.(rows.length);
        // One row alone is not tried twice, which would wait twice for its lock.
        const isAlone = items.length === 1;
        const limits = { timeoutMs, giveUpAt, notifies, isOneByOne: isOneByOne || isAlone, lockBudgetMs: budgetMs };
        return this.sendEach(rows, { ...limits, rowLockMs: isAlone ? longestLockMs : rowLockMs });
      }).then((written) => {
        const rows = items.filter((_, index) => !(written.outcomes[index] instanceof Error)).map(({ row }) => row);
        if (rows.length > 0) this.#announce(rows, notifies);
        return written;
      });
    return new Notifying(announcements.notifies && !isQueueFull).send(send);
  }

  /** When an attempt for items ends, on the clock of `performance.now()`, and how long it may last. */
  #limits(items: readonly WriteItem<Row, Outcome>[], isEach: boolean): [endsAt: number, lastsMs: number] {
    let dueAt = isEach ? 0 : Infinity;
    // Without a limit for each row the first that is due is the limit of all.
    for (const item of items) dueAt = isEach ? Math.max(dueAt, item.dueAt) : Math.min(dueAt, item.dueAt);
    const now = performance.now();
    const endsAt = Math.min(dueAt, this.#endsAt, now + attemptTimeoutMs(this.parts.options));
    return [endsAt, endsAt - now];
  }

  /** Sends a statement once the schema and the server's clock are known, which they are except at first. */
  #whenReady<T>(
    endsAt: number,
    lastsMs: number,
    send: (timeoutMs: number, giveUpAt: number) => Promise<T>,
  ): Promise<T> {
    const { schemaCheck, clock } = this.parts;
    if (this.#isClosed) return Promise.reject(new BackendClosedError());
    const start = (timeoutMs: number): Promise<T> => send(Math.max(1, timeoutMs), clock.lower(endsAt) / 1e6);
    if (schemaCheck.isGood && clock.isKnown) return start(lastsMs);
    const limitMs = Math.max(1, lastsMs);
    return Promise.all([schemaCheck.isGood || schemaCheck.pass(limitMs), clock.ready(limitMs)]).then(() => {
      if (this.#isClosed) throw new BackendClosedError();
      return start(endsAt - performance.now());
    });
  }

  #announce(rows: readonly Row[], notified: boolean): void {
    this.#lastError = undefined;
    this.announce(rows, { notified });
    if (!notified && this.parts.announcements.notifies) this.#unnotified += rows.length;
  }
}

const byKey = (a: { readonly key: string }, b: { readonly key: string }): number => (a.key < b.key ? -1 : 1);
