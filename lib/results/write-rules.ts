import { longestAttemptMs } from "../database/retry";
import type { ServerClock } from "../database/server-clock";
import type { Deadlines } from "../waiting/deadlines";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { Announcements, Announcer } from "./announcements";
import type { MergeRows } from "./write-item";

/** What every kind of write needs. */
export interface WriteParts {
  readonly options: ResolvedOptions;
  readonly schemaCheck: SchemaCheck;
  readonly clock: ServerClock;
  readonly deadlines: Deadlines;
  readonly closed: AbortSignal;
  readonly announcements: Announcements;
  /** Told of the size of each statement; for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

/** What became of the rows of one statement, in their order. */
export interface Written<Outcome> {
  /** An outcome that is an error rejects its own callers. */
  readonly outcomes: readonly (Outcome | Error)[];
  /** The server's times, in seconds since 1970, between the writing of each row and the next one; undefined where it may not have been written, as something newer stays. */
  readonly times: readonly (number | undefined)[];
}

/** The limits of one statement. Times of the server are in seconds since 1970. */
export interface Attempt {
  readonly timeoutMs: number;
  /** The server's time, or a little less, at which the client gives the statement up: it must not write after that. */
  readonly giveUpAt: number;
  /** Whether it notifies listeners; else that is done after the commit. */
  readonly notifies: boolean;
}

/** The limits of the first statement for rows. */
interface FirstAttempt extends Attempt {
  /** Asked once there is a connection. The latest times that the server's clock can have shown when the calls were made, if one has waited for long: what was stored later stays. */
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

export interface WriteRules<Row, Outcome> {
  /** What is written, for error messages: "results". */
  readonly what: string;
  readonly merge: MergeRows<Row>;
  /** Rows that may not share a statement are in different groups; usually one group. */
  readonly split: (row: Row) => string;
  /** Writes rows in one statement. */
  readonly send: (rows: readonly Row[], attempt: FirstAttempt) => Promise<Written<Outcome>>;
  /** The same, where an earlier statement may have written the rows, or one of them made it fail. The error of a row is what it would have failed with alone. */
  readonly sendEach: (rows: readonly GuardedRow<Row>[], attempt: EachAttempt) => Promise<Written<Outcome>>;
  /** Announces what has been committed. */
  readonly announce: (rows: readonly Row[], announcer: Announcer) => void;
  /** The error for the callers of one row, from that of its statement. */
  readonly rowError: (error: unknown, row: Row) => unknown;
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
  /** Rows that wait for a statement to take them, or for their next attempt. At most 100 000, and 128 MiB of JSON. */
  readonly queued: number;
  /** Rows that wait for room in that queue. */
  readonly waiting: number;
  /** Statements under way. */
  readonly inFlight: number;
}

/** Longest time for one attempt: half of what there is, so that a dead connection leaves time for another, and never so long that an int of the server cannot hold it. */
export const attemptTimeoutMs = ({ retryTimeoutMs }: ResolvedOptions): number =>
  Math.min(retryTimeoutMs / 2, longestAttemptMs);
