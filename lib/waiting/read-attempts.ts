import { isTransient, retryTransient } from "../database/retry";
import type { DatabaseError } from "../errors";
import type { SchemaCheck } from "../schema/schema-check";

/**
 * Longest time for the first attempts to read: the connection may be dead, as others of its pool may be, or one of the
 * rows may be at fault.
 */
const shortAttemptMs = 2_000;
const shortAttempts = 2;
/** How long all reads are sent with care after one of them was too slow. */
const carefulMs = 60_000;
/** How long a statement that meets no row may take on a healthy server. */
const probeTimeoutMs = 1_000;

/** A stored value. */
export interface Found<T> {
  readonly value: T;
  /** Set if it was stored so long ago that a working listener would have received its notification. */
  readonly isOld: boolean;
}

/** What one statement read. */
export interface ReadAnswer<T> {
  /** By key; absent keys are left out. */
  readonly found: ReadonlyMap<string, Found<T>>;
  /** Keys that had no room in the answer. */
  readonly unsent?: readonly string[];
  /** Keys of values so large that each needs a statement of its own. */
  readonly large?: readonly string[];
}

/** How to send a read after one was too slow: in the way that costs the server least, whatever the rows are. */
export interface ReadCare {
  /** After which the server itself ends the read. */
  readonly limitMs?: number | undefined;
}

/** Reads what is stored under keys. Without keys the same statement meets no row. */
export type ReadKeys<T> = (keys: readonly string[], timeoutMs: number, care?: ReadCare) => Promise<ReadAnswer<T>>;

export interface ReadLimits {
  readonly schemaCheck: SchemaCheck;
  readonly retryTimeoutMs: number;
  readonly closed: AbortSignal;
  /** Receives the number of keys of each statement, for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
}

/** A read that meets rows failed while one that meets none succeeds. */
export class SlowRowsError extends Error {
  override readonly name = "SlowRowsError";
  override readonly cause: DatabaseError;

  constructor(cause: DatabaseError) {
    super(cause.message);
    this.cause = cause;
  }
}

/** Sends reads: how often, how long each attempt may take, and with how much care. */
export class ReadAttempts<T> {
  readonly #read: ReadKeys<T>;
  readonly #limits: ReadLimits;
  #statements = 0;
  #retries = 0;
  #lastError: DatabaseError | undefined;
  /** The next three are on the clock of `performance.now()`. */
  #carefulUntil = -Infinity;
  /** When the database ceased to answer; undefined while it answers. */
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

  /** Why the latest read failed; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#lastError;
  }

  get isCareful(): boolean {
    return performance.now() < this.#carefulUntil;
  }

  /** Half of what there is, so that a dead connection leaves time for another attempt. */
  get longestAttemptMs(): number {
    return this.#limits.retryTimeoutMs / 2;
  }

  /**
   * Reads keys, repeatedly while errors are transient. Rejects with a {@link SlowRowsError} if the rows are at fault.
   */
  async read(keys: readonly string[]): Promise<ReadAnswer<T>> {
    const { retryTimeoutMs, closed } = this.#limits;
    let attempts = 0;
    const attempt = async (attemptMs: number): Promise<ReadAnswer<T>> => {
      attempts += 1;
      return this.#attempt(keys, attempts > shortAttempts ? attemptMs : Math.min(attemptMs, shortAttemptMs));
    };
    // In an outage that has lasted as long as a read is retried, calls that read one after another would otherwise each
    // wait for the whole time.
    if (this.#unansweredSince !== undefined && performance.now() - this.#unansweredSince >= retryTimeoutMs)
      return attempt(this.longestAttemptMs);
    const onRetry = (error: DatabaseError): void => {
      this.noteFailure(error);
      this.#retries += 1;
    };
    return retryTransient(attempt, { dueAt: performance.now() + retryTimeoutMs, signals: [closed], onRetry });
  }

  /** Reads keys of rows that have been too slow, which the server ends after `limitMs`. */
  async readLimited(keys: readonly string[], limitMs: number): Promise<ReadAnswer<T>> {
    // The server cannot interrupt every conversion.
    const timeoutMs = limitMs + this.longestAttemptMs;
    const startedAt = performance.now();
    const attempt = async (): Promise<ReadAnswer<T>> => this.#send(keys, timeoutMs, { limitMs });
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

  /** Tells whether a read that meets no row succeeds. If none does, parts of a read would fare no better. */
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

/** Tells whether a row may be why a read failed: the server ended the statement, or gave no answer in time. */
function mayBeSlowRows(error: unknown, isLate: boolean): error is DatabaseError {
  if (!isTransient(error)) return false;
  return error.origin === "statement" || (isLate && error.origin === "session" && error.sqlState === undefined);
}
