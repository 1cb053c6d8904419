import type { Database, FollowUp } from "../database/database";
import { isLate, longestAttemptMs, retryUntilAborted } from "../database/retry";
import type { ServerClock } from "../database/server-clock";
import { BackendClosedError, type DatabaseError } from "../errors";
import type { PayloadName } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { Deadlines } from "../waiting/deadlines";
import { type Announcements, Notifying } from "./announcements";
import { mayReachAnotherServer } from "./write-errors";
import { calledTimes, type WriteItem, youngCallMs } from "./write-item";

/**
 * Longest time for one attempt: half of the retry time, so that a dead connection leaves time for another attempt, and
 * within the range of a server's int.
 */
const attemptTimeoutMs = ({ retryTimeoutMs }: ResolvedOptions): number =>
  Math.min(retryTimeoutMs / 2, longestAttemptMs);

/** Long enough for any usual lock, and short enough to end before the client gives up on an attempt. */
const writeLockTimeoutMs = (options: ResolvedOptions): number => attemptTimeoutMs(options) / 2;

/**
 * Longest wait for a row lock in the first statement for rows, which delays all of them. A row that is locked for
 * longer is retried separately.
 */
export const rowLockTimeoutMs = (options: ResolvedOptions): number => Math.min(1_000, writeLockTimeoutMs(options));

/** Longest total wait of one statement for row locks. */
const lockBudgetMs = 1_000;
/** Shortest wait for a single row lock. A transaction that only stores has ended by then. */
const shortestLockWaitMs = 10;

/** Parts of a backend that a repeated write needs. */
export interface FencedWriteParts {
  readonly schemaCheck: SchemaCheck;
  readonly clock: ServerClock;
  readonly closed: AbortSignal;
}

/** The limits of one statement that writes. Times of the server are in seconds since 1970. */
export interface Attempt {
  readonly timeoutMs: number;
  /** Server time, at the earliest, at which the client gives up on the statement. It must not write after that. */
  readonly giveUpAt: number;
}

/**
 * Sends a statement that is given up at `endsAt`, on the clock of `performance.now()`, once the schema and the server's
 * clock are known, which they are except at first.
 */
function whenReady<T>(
  { schemaCheck, clock }: Omit<FencedWriteParts, "closed">,
  endsAt: number,
  send: (attempt: Attempt) => Promise<T>,
): Promise<T> {
  const leftMs = (): number => Math.max(1, endsAt - performance.now());
  const start = (): Promise<T> => send({ timeoutMs: leftMs(), giveUpAt: clock.lower(endsAt) / 1e6 });
  if (schemaCheck.isGood && clock.isKnown) return start();
  // One after the other, so that the pool does not open two connections for the first call.
  return schemaCheck
    .pass(leftMs())
    .then(() => clock.ready(leftMs()))
    .then(start);
}

export interface FencedAttempt extends Attempt {
  /**
   * For a retry, or a call that has waited for long: latest server time at which the call can have been made, since
   * what was stored later must not be overwritten. Otherwise null.
   */
  readonly guardedFrom: () => number | null;
}

/**
 * Repeats a write that is not batched while it fails with a transient error. Each attempt carries its deadline as a
 * server time.
 */
export async function fencedWrite<T>(
  parts: FencedWriteParts,
  limitMs: number,
  write: (attempt: FencedAttempt) => Promise<T>,
): Promise<T> {
  const { clock, closed } = parts;
  const madeAt = performance.now();
  let isRetry = false;
  const attempt = (attemptMs: number): Promise<T> =>
    whenReady(parts, performance.now() + attemptMs, (limits) => {
      const calledAt = clock.upper(madeAt) / 1e6;
      const isGuarded = isRetry;
      isRetry = true;
      const guardedFrom = (): number | null =>
        isGuarded || performance.now() - madeAt > youngCallMs ? calledAt : null;
      return write({ ...limits, guardedFrom });
    });
  const onRetry = (error: DatabaseError): void => {
    // A late statement means that the estimated clock is wrong. After a lost session the next one may be on another
    // server.
    if (isLate(error) || mayReachAnotherServer(error)) clock.invalidate();
  };
  return retryUntilAborted(attempt, { dueAt: madeAt + limitMs, signals: [closed], onRetry });
}

/** Parts of a backend that every batched write needs. */
export interface WriteParts extends FencedWriteParts {
  readonly options: ResolvedOptions;
  readonly deadlines: Deadlines;
  readonly announcements: Announcements;
  readonly database: Database;
  /** Receives the number of rows of each statement, for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

/** The limits of one statement that writes rows. */
export interface RowsAttempt extends Attempt {
  /** True if the statement notifies listeners. Otherwise they are notified after the commit. */
  readonly notifies: boolean;
}

/** The limits of the first statement for rows. */
export interface FirstAttempt extends RowsAttempt {
  /**
   * Called once there is a connection. If a call has waited for long, returns the latest server times at which the
   * calls can have been made. Results stored later are not overwritten.
   */
  readonly calledAt: () => readonly number[] | undefined;
  /** The notification to send along, if any. */
  readonly followUp: FollowUp | undefined;
}

/** One statement that lets each of its rows fail alone. */
export interface EachAttempt<Row> {
  readonly timeoutMs: number;
  readonly rows: readonly Row[];
  /** What kojin_store_each and kojin_finish_each take after the columns of the rows, from `called` to `notifies`. */
  readonly limits: readonly unknown[];
}

/** Outcomes of the rows of one statement, in order. */
export interface Written<Outcome> {
  /** An error rejects only the callers of its row. */
  readonly outcomes: readonly (Outcome | Error)[];
  /**
   * Server times, in seconds since 1970, between the write of each row and the next one. Undefined for a row that may
   * not have been written because the stored one is newer.
   */
  readonly times: readonly (number | undefined)[];
}

type Items<Row, Outcome> = readonly WriteItem<Row, Outcome>[];

/** Sends the statements that write rows: once each, with their limits, and announces what they have written. */
export abstract class RowSender<Row, Outcome> {
  protected readonly parts: WriteParts;
  /** Error of the latest attempt; undefined once one has succeeded. */
  protected lastError: DatabaseError | undefined;
  /** No attempt goes on after this, on the clock of `performance.now()`. */
  protected endsAt = Infinity;
  /** Nothing more is sent. */
  protected isClosed = false;
  protected statements = 0;
  protected unnotified = 0;

  protected constructor(parts: WriteParts) {
    this.parts = parts;
  }

  /** Writes rows of one kind in one statement. */
  protected abstract sendTogether(rows: readonly Row[], attempt: FirstAttempt): Promise<Written<Outcome>>;
  /**
   * Writes rows so that each fails alone, after an earlier statement has failed or may have written them. A row's error
   * is the one that it would have caused alone.
   */
  protected abstract sendEach(attempt: EachAttempt<Row>): Promise<Written<Outcome>>;
  /** What is announced of rows that are committed. */
  protected abstract announcementOf(rows: readonly Row[]): [name: PayloadName, ids: readonly string[]];

  /** Sends the first statement for rows, which writes all of them or none. */
  protected attemptTogether(items: Items<Row, Outcome>): Promise<Written<Outcome>> {
    const rows = items.map(({ row }) => row);
    const { announcements, clock } = this.parts;
    const { notifies } = announcements;
    const followUp = announcements.following(...this.announcementOf(rows));
    // If the rows have no limits of their own, the earliest deadline is that of the statement.
    const dueAt = items.reduce((earliest, item) => Math.min(earliest, item.dueAt), Infinity);
    return this.#send(rows.length, this.#endOf(dueAt), ({ timeoutMs, giveUpAt }) => {
      const upper = clock.upperBySample;
      const calledAt = (): number[] | undefined => calledTimes(items, upper);
      return this.sendTogether(rows, { timeoutMs, giveUpAt, notifies, followUp, calledAt });
    }).then((written) => {
      this.#announce(rows, notifies, followUp?.answered);
      return written;
    });
  }

  /** @param isQueueFull - The queue of notifications is, so that a notification would fail the rows. */
  protected attemptEach(
    items: Items<Row, Outcome>,
    isOneByOne: boolean,
    isQueueFull: boolean,
  ): Promise<Written<Outcome>> {
    const { announcements, clock } = this.parts;
    const endsAt = this.#endOf(Math.max(...items.map(({ dueAt }) => dueAt)));
    const locksMs = this.#lockLimits(items.length, endsAt - performance.now());
    const notifying = new Notifying(announcements.notifies && !isQueueFull);
    return notifying.send(async (notifies) => {
      const written = await this.#send(items.length, endsAt, ({ timeoutMs, giveUpAt }) => {
        const calledAt = items.map((item) => item.replacesUntil((localMs) => clock.upper(localMs)));
        const dueAt = items.map((item) => Math.min(giveUpAt, clock.lower(item.dueAt) / 1e6));
        // A single row goes straight to the one-by-one form. Otherwise it would wait for its lock twice.
        const limits = [calledAt, dueAt, giveUpAt, isOneByOne || items.length === 1, ...locksMs, notifies];
        return this.sendEach({ timeoutMs, rows: items.map(({ row }) => row), limits });
      });
      const rows = items.filter((_, index) => !(written.outcomes[index] instanceof Error)).map(({ row }) => row);
      if (rows.length > 0) this.#announce(rows, notifies);
      return written;
    });
  }

  /**
   * Returns the longest waits for the lock of a row, for the locks of all rows, and for that of the notification: so
   * short that the server says that a row is locked before the client gives up, which would cost the connection.
   */
  #lockLimits(rows: number, lastsMs: number): number[] {
    const commitMs = writeLockTimeoutMs(this.parts.options);
    const longestMs = Math.max(1, Math.min(commitMs, lastsMs / 2));
    const budgetMs = Math.max(1, Math.min(lockBudgetMs, lastsMs / 2));
    const shareMs = Math.min(longestMs, Math.max(shortestLockWaitMs, budgetMs / rows));
    return [rows === 1 ? longestMs : shareMs, budgetMs, commitMs].map(Math.round);
  }

  /** When an attempt ends for rows that are due at a time. */
  #endOf(dueAt: number): number {
    return Math.min(dueAt, this.endsAt, performance.now() + attemptTimeoutMs(this.parts.options));
  }

  #send<T>(rows: number, endsAt: number, send: (attempt: Attempt) => Promise<T>): Promise<T> {
    return whenReady(this.parts, endsAt, (attempt) => {
      if (this.isClosed) return Promise.reject(new BackendClosedError());
      this.statements += 1;
      this.parts.countBatch?.(rows);
      return send(attempt);
    });
  }

  #announce(rows: readonly Row[], notified: boolean, sent?: Promise<unknown>): void {
    const { announcements } = this.parts;
    this.lastError = undefined;
    announcements.announce(...this.announcementOf(rows), { notified, sent });
    if (!notified && announcements.notifies) this.unnotified += rows.length;
  }
}
