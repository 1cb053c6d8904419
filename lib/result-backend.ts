import type { QueryResultRow } from "pg";
import type { Observable } from "rxjs";

/** What became of a task: its value, or the `TaskFailedError` it ended with, as `reason`. */
export type TaskOutcome<T> = { readonly taskId: string } & PromiseSettledResult<T>;

/**
 * What writes need of a client: `pg`'s `Client` and `PoolClient` have it, and an adapter for another driver takes a few lines.
 * The caller owns the client and its transaction.
 */
export interface SqlClient {
  query(text: string, values: unknown[]): Promise<{ rows: QueryResultRow[]; rowCount: number | null }>;
}

export interface WriteOptions {
  /**
   * A client of the caller's, with its own transaction: the write, and its notification, then happen if and when that transaction commits.
   * Such a write is neither batched nor retried.
   */
  readonly client?: SqlClient;
}

export interface StoreOptions extends WriteOptions {
  /** How long to keep this result, in milliseconds. More than 0; `Infinity` never expires. Default: the backend's `ttlMs`. */
  readonly ttlMs?: number;
  /** When the task already has a result: `'replace'` it, or `'keep'` the first. Default `'replace'`. */
  readonly onConflict?: "replace" | "keep";
}

export interface WaitOptions {
  /**
   * Longest wait, in milliseconds, counted from the call. 0 reads once; `Infinity` waits until closed. There is one last read at the deadline, for which
   * a database that does not answer gets one more second.
   */
  readonly timeoutMs: number;
  /** Ends the wait early; it then rejects with `signal.reason`. The task is not affected. */
  readonly signal?: AbortSignal;
}

export interface ResultFeedOptions {
  /** Which results to emit; the others are not even read. Default: all. */
  readonly where?: (taskId: string) => boolean;
}

export interface CloseOptions {
  /** How long waits that are open may still go on, in milliseconds. Default 0: they reject at once. */
  readonly drainMs?: number;
}

/** A store for results of tasks, and a way to await them from anywhere. */
export interface ResultBackend extends AsyncDisposable {
  /**
   * Stores the result of a task. Resolves once it is committed; whoever waits for it is then woken.
   *
   * @param taskId - 1 to 512 bytes of UTF-8, without NUL and lone surrogates.
   * @param result - Anything JSON can hold; `undefined` is stored as `null`. Kept for `ttlMs`, a day unless told otherwise.
   * @throws {@link ResultEncodingError} JSON or jsonb cannot hold it, or it is too large. Nothing was sent.
   * @throws {@link DatabaseError} Postgres refused it, or could not be reached for `retryTimeoutMs`. It may be stored nevertheless.
   */
  store<T>(taskId: string, result: T, options?: StoreOptions): Promise<void>;

  /**
   * Stores that a task failed. Waits for it reject with a `TaskFailedError` that has the error's name, message, code, details and cause.
   *
   * @param error - Usually an `Error`; anything that was thrown will do. Stacks are not stored.
   */
  fail(taskId: string, error: unknown, options?: StoreOptions): Promise<void>;

  /**
   * The stored result, or `undefined` if there is none, or none any more. A stored `null` is `null`.
   *
   * @throws {@link TaskFailedError} The task failed.
   */
  get<T>(taskId: string): Promise<T | undefined>;

  /** As {@link ResultBackend.get}, but a failure is a value too: `{ status: 'rejected', reason }`. */
  getSettled<T>(taskId: string): Promise<PromiseSettledResult<T> | undefined>;

  /**
   * Resolves with the result of a task: at once if it is stored, else as soon as it is. Losing the listener only delays the answer.
   *
   * @param timeout - In milliseconds, or {@link WaitOptions}.
   * @throws {@link TaskFailedError} The task failed.
   * @throws {@link WaitTimeoutError} Nothing was stored in time. The task may still finish.
   * @throws {@link BackendClosedError} The backend was closed.
   * @throws {@link DatabaseError} Reading is not allowed, or fails for good. Outages are waited out.
   */
  wait<T>(taskId: string, timeout: number | WaitOptions): Promise<T>;

  /** As {@link ResultBackend.wait}, but a failed task is a value too: `{ status: 'rejected', reason }`. */
  waitSettled<T>(taskId: string, timeout: number | WaitOptions): Promise<PromiseSettledResult<T>>;

  /** Deletes a result; tells whether there was one. Wakes nobody. */
  delete(taskId: string, options?: WriteOptions): Promise<boolean>;

  /**
   * The result of a task as a cold stream: the stored one, or the next one to be stored, then completion. Errors as {@link ResultBackend.wait} rejects, and
   * has no timeout of its own. Unsubscribing ends the wait.
   */
  result$<T>(taskId: string): Observable<T>;

  /**
   * Every result that is stored from now on, by whatever process: a hot stream. A result that is replaced before it could be read shows once, as its
   * latest. What is missed while the connection is lost is read afterwards. Errors when the backend is closed.
   */
  results$<T>(options?: ResultFeedOptions): Observable<TaskOutcome<T>>;

  /** Rejects open waits, errors open streams, and lets go of every connection and timer. May be called at any time, and again. */
  close(options?: CloseOptions): Promise<void>;
}
