import { isTransient, retryTransient } from "../database/retry";
import type { DatabaseError } from "../errors";
import type { SchemaCheck } from "../schema/schema-check";

/** Longest time for the first attempts to read, since connections of the pool may be dead, or a row may be slow. */
const shortAttemptMs = 2_000;
const shortAttempts = 2;
/** Time for which all reads are sent with care after one was too slow. */
const carefulMs = 60_000;
/** Longest time of a statement without rows on a healthy server. */
const probeTimeoutMs = 1_000;

/** A stored value. */
export interface Found<T> {
  readonly value: T;
  /** Set if it was stored so long ago that a working listener would have received its notification. */
  readonly isOld: boolean;
}

/** Answer of one read statement. */
export interface ReadAnswer<T> {
  /** By key; absent keys are left out. */
  readonly found: ReadonlyMap<string, Found<T>>;
  /** Keys that had no room in the answer. */
  readonly unsent?: readonly string[];
  /** Keys of values so large that each needs a statement of its own. */
  readonly large?: readonly string[];
}

/** Options for reads after one was too slow: they must cost the server little, whatever the rows contain. */
export interface ReadCare {
  /** Time after which the server itself ends the read. */
  readonly limitMs?: number | undefined;
}

/** Reads what is stored under keys. Without keys the same statement reads no rows. */
export type ReadKeys<T> = (keys: readonly string[], timeoutMs: number, care?: ReadCare) => Promise<ReadAnswer<T>>;

export interface ReadLimits {
  readonly schemaCheck: SchemaCheck;
  readonly retryTimeoutMs: number;
  readonly closed: AbortSignal;
  /** Receives the number of keys of each statement, for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

/** A read of rows failed although one without rows succeeds. */
export class SlowRowsError extends Error {
  override readonly name = "SlowRowsError";
  override readonly cause: DatabaseError;

  constructor(cause: DatabaseError) {
    super(cause.message);
    this.cause = cause;
  }
}

/** Sends reads. Decides how often, with which time limits, and with how much care. */
export class ReadAttempts<T> {
  readonly #read: ReadKeys<T>;
  readonly #limits: ReadLimits;
  #statements = 0;
  #retries = 0;
  #lastError: DatabaseError | undefined;
  /** The next three are on the clock of `performance.now()`. */
  #carefulUntil = -Infinity;
  /** Start of an outage of the database; undefined while it answers. */
  #unansweredSince: number | undefined;

  constructor(read: ReadKeys<T>, limits: ReadLimits) {
    this.#read = read;
    this.#limits = limits;
  }

  get statements(): number {
    return this.#statements;
  }

  get retries(): number {
    return this.#retries;
  }

  /** Error of the latest read; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#lastError;
  }

  get isCareful(): boolean {
    return performance.now() < this.#carefulUntil;
  }

  /** Half of the time left, so that a dead connection leaves time for another attempt. */
  get longestAttemptMs(): number {
    return this.#limits.retryTimeoutMs / 2;
  }

  /**
   * Reads keys, repeatedly while errors are transient. Rejects with a {@link SlowRowsError} if the rows are at fault.
   *
   * @param onAttempt - Called when each attempt begins.
   */
  async read(keys: readonly string[], onAttempt: () => void): Promise<ReadAnswer<T>> {
    const { retryTimeoutMs, closed } = this.#limits;
    let attempts = 0;
    const attempt = async (attemptMs: number): Promise<ReadAnswer<T>> => {
      onAttempt();
      attempts += 1;
      return this.#attempt(keys, attempts > shortAttempts ? attemptMs : Math.min(attemptMs, shortAttemptMs));
    };
    // Once an outage has lasted as long as reads are retried, reject at once. Otherwise successive reads of a caller
    // would each wait for the whole time.
    if (this.#unansweredSince !== undefined && performance.now() - this.#unansweredSince >= retryTimeoutMs)
      return attempt(this.longestAttemptMs);
    const onRetry = (error: DatabaseError): void => {
      this.noteFailure(error);
      this.#retries += 1;
    };
    return retryTransient(attempt, { dueAt: performance.now() + retryTimeoutMs, signals: [closed], onRetry });
  }

  /** Reads keys of rows that have been too slow, which the server ends after `limitMs`. */
  async readLimited(keys: readonly string[], limitMs: number, onAttempt: () => void): Promise<ReadAnswer<T>> {
    // The server cannot interrupt every conversion.
    const timeoutMs = limitMs + this.longestAttemptMs;
    const startedAt = performance.now();
    const attempt = async (): Promise<ReadAnswer<T>> => {
      onAttempt();
      return this.#send(keys, timeoutMs, { limitMs });
    };
    return retryTransient(attempt, { dueAt: startedAt + limitMs, signals: [this.#limits.closed] }).catch(
      (error: unknown) => {
        throw mayBeSlowRows(error, performance.now() - startedAt >= timeoutMs) ? new SlowRowsError(error) : error;
      },
    );
  }

  noteSuccess(): void {
    this.#lastError = undefined;
    this.#unansweredSince = undefined;
  }

  noteFailure(error: DatabaseError): void {
    this.#lastError = error;
    if (error.origin !== "statement") this.#unansweredSince ??= performance.now();
  }

  async #attempt(keys: readonly string[], limitMs: number): Promise<ReadAnswer<T>> {
    const { schemaCheck } = this.#limits;
    const startedAt = performance.now();
    try {
      if (!schemaCheck.isGood) await schemaCheck.pass(limitMs);
      return await this.#send(keys, limitMs, this.isCareful ? {} : undefined);
    } catch (error) {
      const isLate = performance.now() - startedAt >= limitMs;
      if (!mayBeSlowRows(error, isLate) || !(await this.#isAnswering(limitMs))) throw error;
      this.#carefulUntil = performance.now() + carefulMs;
      throw new SlowRowsError(error);
    }
  }

  /** Tells whether a read without rows succeeds. If not, splitting a read would not help. */
  async #isAnswering(timeoutMs: number): Promise<boolean> {
    return this.#send([], Math.min(timeoutMs, probeTimeoutMs)).then(
      () => true,
      () => false,
    );
  }

  async #send(keys: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<T>> {
    this.#statements += 1;
    this.#limits.countBatch?.(keys.length);
    return this.#read(keys, timeoutMs, care);
  }
}

/** Tells whether a row may have made a read fail: the server ended the statement, or did not answer in time. */
function mayBeSlowRows(error: unknown, isLate: boolean): error is DatabaseError {
  if (!isTransient(error)) return false;
  return error.origin === "statement" || (isLate && error.origin === "session" && error.sqlState === undefined);
}
