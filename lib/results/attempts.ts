import type { Database } from "../database/database";
import { retryUntilAborted } from "../database/retry";
import type { ServerClock } from "../database/server-clock";
import { sqlStates } from "../database/sql-states";
import type { DatabaseError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { Deadlines } from "../waiting/deadlines";
import type { Announcements } from "./announcements";
import { youngCallMs } from "./limits";
import { mayReachAnotherServer } from "./write-errors";

/** The parts that a repeated write needs. */
export interface FencedWriteParts {
  readonly schemaCheck: SchemaCheck;
  readonly clock: ServerClock;
  readonly closed: AbortSignal;
}

/** The parts that every batched write needs. */
export interface WriteParts extends FencedWriteParts {
  readonly options: ResolvedOptions;
  readonly deadlines: Deadlines;
  readonly announcements: Announcements;
  readonly database: Database;
  /** Told of the size of each statement; for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

/** Writes of one kind since the backend was made. */
export interface WriteCounters {
  readonly statements: number;
  /** Rows that were written. */
  readonly rows: number;
  readonly retries: number;
  /**
   * Rows whose statement was sent again without its notification, because the notification would have failed it: the
   * queue was full, or its lock was held for too long. They are announced afterwards if that is possible; else the
   * waiters' sweep finds them.
   */
  readonly unnotified: number;
  /** Rows that wait for a statement to take them, or for their next attempt. At most 100 000, and 128 MiB of JSON. */
  readonly queued: number;
  /** Rows that wait for room in that queue. */
  readonly waiting: number;
  /** Statements under way. */
  readonly inFlight: number;
}

/** The limits of one statement that writes rows. Times of the server are in seconds since 1970. */
export interface Attempt {
  readonly timeoutMs: number;
  /** The server's time, or a little less, at which the client gives the statement up: it must not write after that. */
  readonly giveUpAt: number;
  /** Whether it notifies listeners; else that is done after the commit. */
  readonly notifies: boolean;
}

/** The limits of the first statement for rows. */
export interface FirstAttempt extends Attempt {
  /**
   * Asked once there is a connection. The latest times that the server's clock can have shown when the calls were made,
   * if one has waited for long: what was stored later stays.
   */
  readonly calledAt: () => readonly number[] | undefined;
}

/** The limits of one statement that lets each of its rows fail alone. */
export interface EachAttempt extends Attempt {
  /** Whether a row is known to be at fault, so that storing all of them together is not worth a try. */
  readonly isOneByOne: boolean;
  /** Longest wait for the lock of a row, in milliseconds. */
  readonly rowLockMs: number;
  /** Longest wait for the locks of all rows. */
  readonly lockBudgetMs: number;
}

/** A row of an {@link EachAttempt}. */
export interface GuardedRow<Row> {
  readonly row: Row;
  /** The latest time that the server's clock can have shown when the call was made: what was stored later stays. */
  readonly calledAt: number;
  /** The row must not be written at or after this time. */
  readonly dueAt: number;
}

/** The outcome of the rows of one statement, in their order. */
export interface Written<Outcome> {
  /** An outcome that is an error rejects its own callers. */
  readonly outcomes: readonly (Outcome | Error)[];
  /**
   * The server's times, in seconds since 1970, between the writing of each row and the next one; undefined where it may
   * not have been written, as something newer stays.
   */
  readonly times: readonly (number | undefined)[];
}

/** The limits of one attempt. Times of the server are in seconds since 1970. */
export interface FencedAttempt {
  readonly timeoutMs: number;
  /** The server's time, or a little less, at which the client gives the attempt up: it must not write after that. */
  readonly giveUpAt: number;
  /**
   * The latest time that the server's clock can have shown when the call was made, where what was stored later has to
   * be left alone: for a retry, or a call that has waited for long by now. Else null.
   */
  readonly guardedFrom: () => number | null;
}

/**
 * Repeats a write that travels alone while it fails with a transient error. Each attempt carries its deadline in the
 * server's time.
 */
export async function fencedWrite<T>(
  { schemaCheck, clock, closed }: FencedWriteParts,
  limitMs: number,
  write: (attempt: FencedAttempt) => Promise<T>,
): Promise<T> {
  const madeAt = performance.now();
  const dueAt = madeAt + limitMs;
  let isRetry = false;
  const attempt = async (attemptMs: number): Promise<T> => {
    const endsAt = performance.now() + attemptMs;
    if (!schemaCheck.isGood) await schemaCheck.pass(attemptMs);
    if (!clock.isKnown) await clock.ready(attemptMs);
    const calledAt = clock.upper(madeAt) / 1e6;
    const isGuarded = isRetry;
    isRetry = true;
    return write({
      timeoutMs: Math.max(1, endsAt - performance.now()),
      giveUpAt: clock.lower(endsAt) / 1e6,
      guardedFrom: () => (isGuarded || performance.now() - madeAt > youngCallMs ? calledAt : null),
    });
  };
  const onRetry = (error: DatabaseError): void => {
    // A statement that came late shows a clock that is wrong, and after a lost session the next one may be with another
    // server.
    if (mayReachAnotherServer(error) || error.sqlState === sqlStates.lateStatement) clock.invalidate();
  };
  return retryUntilAborted(attempt, { dueAt, signals: [closed], onRetry });
}
