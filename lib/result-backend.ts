import type { QueryResultRow } from "pg";
import type { Observable } from "rxjs";
import type { ResultSchema } from "./value/decoding";
import type { TaskId } from "./value/task";

/**
 * What became of a task: its value, or the `TaskFailedError` it ended with, as `reason`. Or the `ResultValidationError` of a result that the codec, or the schema
 * given to the stream, does not take.
 */
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

export interface ReadOptions<T = unknown> {
  /**
   * A Standard Schema (of zod, valibot, arktype and their like), which checks the result and gives its type; it may be asynchronous. A result that it does not take
   * is a `ResultValidationError` of this call alone, and stays stored. In a wait it may use what is left of the time, and a second at least.
   */
  readonly schema?: ResultSchema<T>;
}

export interface ResultFeedOptions<T = unknown> extends ReadOptions<T> {
  /** Which results to emit; the others are not even read. The `is` of a task definition also types them. Default: all. */
  readonly where?: ((taskId: string) => boolean) | ((taskId: string) => taskId is TaskId<T>);
}

export interface CloseOptions {
  /** How long waits that are open may still go on, in milliseconds. Default 0: they reject at once. */
  readonly drainMs?: number;
}

export interface GroupOptions extends WriteOptions {
  /** How long the group is kept once it is done, in milliseconds. More than 0; `Infinity` never expires. Default: the backend's `ttlMs`. */
  readonly ttlMs?: number;
  /**
   * How long the group may stay open, in milliseconds. More than 0. After that it counts as absent, and whoever waits for it gets a `WaitTimeoutError`.
   * Default `Infinity`: an open group does not expire.
   */
  readonly deadlineMs?: number;
}

export interface ClaimOptions {
  /** A client of the caller's, with its own transaction: the claim counts if that commits, together with whatever else it does. */
  readonly client?: SqlClient;
  /** How long the claim holds without `ack()`, in milliseconds. 1 or more. Default: for good, at once. */
  readonly leaseMs?: number;
}

/** How far a group is. */
export interface GroupProgress {
  readonly groupId: string;
  /** Its size; null until it is initialised. */
  readonly total: number | null;
  /** Members with a result. */
  readonly completed: number;
  /** Members that failed, and have not succeeded since. */
  readonly failed: number;
  /** Whether `completed + failed` has reached the total. */
  readonly done: boolean;
}

/** The right to act on a group that is done, given to one caller. */
export interface GroupClaim {
  readonly groupId: string;
  /** Says that the work is done, so that nobody gets the claim again. `false` if the lease had ended and somebody else has it. */
  ack(): Promise<boolean>;
}

export interface UnclaimedOptions {
  /** Most groups to give. 1 to 10 000; default 100. */
  readonly limit?: number;
}

/** Groups of tasks: counted exactly, by whatever process their members are completed, and awaited as a whole. */
export interface GroupBackend {
  /**
   * Says how many members a group has, or which. Again with the same is a no-op. Members may have been completed before; a group of 0 is done at once.
   *
   * @param members - A number from 0 up, or the ids of the members, each once; with ids, results come in that order, and no other member is accepted.
   * @throws {@link GroupConflictError} It was initialised with another total, or has more members already.
   */
  initGroup(groupId: string, members: number | readonly string[], options?: GroupOptions): Promise<void>;

  /**
   * Stores the result of a member, and tells how many members are completed with it. Among concurrent first completions each is told another number, so exactly
   * one is told the total. Completing a member again replaces its result, counts nothing, and is told the present number.
   *
   * @throws {@link GroupConflictError} The group's members are declared and this is none of them, or it has as many members as it may. Nothing is changed.
   */
  completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<T>,
    result: NoInfer<T>,
    options?: WriteOptions,
  ): Promise<number>;

  /**
   * Stores that a member failed, which finishes it too; tells how many members are completed. A success, before or after, outweighs it. Where a task is tried again,
   * call this after the last attempt: with the last member the group is done, and whoever waits hears of the failure.
   */
  failGroupMember(groupId: string, taskId: string, error: unknown, options?: WriteOptions): Promise<number>;

  /** The results of the members that are completed, in declared order, or else in the order of the bytes of their ids. Empty for an unknown group. */
  getGroupResults<T>(groupId: string, options?: ReadOptions<T>): Promise<T[]>;

  /** How far a group is; `undefined` if nothing is known of it. */
  getGroup(groupId: string): Promise<GroupProgress | undefined>;

  /**
   * Resolves with the results of a group once it is done.
   *
   * @throws {@link GroupFailedError} It is done, and members failed.
   * @throws {@link ResultValidationError} The schema does not take the result of a member.
   * @throws {@link WaitTimeoutError} It was not done in time; the message tells if it was never initialised.
   */
  waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]>;

  /** How far a group is, at once and at every change; completes when it is done. Changes in quick succession show as one. Nothing is emitted of an unknown group. */
  group$(groupId: string): Observable<GroupProgress>;

  /** What became of each member: first those that are finished, in the order in which they did, then the others as they finish; each once. Completes when the group is done. */
  groupMembers$<T>(groupId: string, options?: ReadOptions<T>): Observable<TaskOutcome<T>>;

  /** The results of a group, once, when it is done; errors with `GroupFailedError` if members failed. */
  groupResults$<T>(groupId: string, options?: ReadOptions<T>): Observable<T[]>;

  /** Every group that gets done from now on: a hot stream. What is missed while the connection is lost is read afterwards. */
  groupCompletions$(): Observable<GroupProgress>;

  /**
   * Gives a group that is done to exactly one caller; `undefined` if it is not done, or somebody else has it. Without options the claim is for good. With
   * `client` it is part of the caller's transaction. With `leaseMs` it has to be acknowledged, or it ends.
   */
  claimGroup(groupId: string, options?: ClaimOptions): Promise<GroupClaim | undefined>;

  /** Groups that are done and that nobody has claimed, or whose claim ended without `ack()`, longest done first: what to look at after a restart. */
  unclaimedGroups(options?: UnclaimedOptions): Promise<GroupProgress[]>;
}

/** A store for results of tasks, and a way to await them from anywhere. */
export interface ResultBackend extends GroupBackend, AsyncDisposable {
  /**
   * Stores the result of a task. Resolves once it is committed; whoever waits for it is then woken.
   *
   * @param taskId - 1 to 512 bytes of UTF-8, without NUL and lone surrogates.
   * @param result - Anything JSON can hold; `undefined` is stored as `null`. Kept for `ttlMs`, a day unless told otherwise.
   * @throws {@link ResultEncodingError} JSON or jsonb cannot hold it, or it is too large. Nothing was sent.
   * @throws {@link DatabaseError} Postgres refused it, or could not be reached for `retryTimeoutMs`. It may be stored nevertheless.
   */
  store<T>(taskId: TaskId<T>, result: NoInfer<T>, options?: StoreOptions): Promise<void>;

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
   * @throws {@link ResultValidationError} The codec, or the schema, does not take what is stored.
   */
  get<T>(taskId: TaskId<T>, options?: ReadOptions<T>): Promise<T | undefined>;

  /** As {@link ResultBackend.get}, but a failure is a value too: `{ status: 'rejected', reason }`. */
  getSettled<T>(taskId: TaskId<T>, options?: ReadOptions<T>): Promise<PromiseSettledResult<T> | undefined>;

  /**
   * Resolves with the result of a task: at once if it is stored, else as soon as it is. Losing the listener only delays the answer.
   *
   * @param timeout - In milliseconds, or {@link WaitOptions}, and {@link ReadOptions}.
   * @throws {@link TaskFailedError} The task failed.
   * @throws {@link ResultValidationError} The codec, or the schema, does not take what is stored.
   * @throws {@link WaitTimeoutError} Nothing was stored in time. The task may still finish.
   * @throws {@link BackendClosedError} The backend was closed.
   * @throws {@link DatabaseError} Reading is not allowed, or fails for good. Outages are waited out.
   */
  wait<T>(taskId: TaskId<T>, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T>;

  /** As {@link ResultBackend.wait}, but a failed task is a value too: `{ status: 'rejected', reason }`. */
  waitSettled<T>(taskId: TaskId<T>, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<PromiseSettledResult<T>>;

  /** Deletes a result; tells whether there was one. Wakes nobody. */
  delete(taskId: string, options?: WriteOptions): Promise<boolean>;

  /**
   * The result of a task as a cold stream: the stored one, or the next one to be stored, then completion. Errors as {@link ResultBackend.wait} rejects, and
   * has no timeout of its own. Unsubscribing ends the wait.
   */
  result$<T>(taskId: TaskId<T>, options?: ReadOptions<T>): Observable<T>;

  /**
   * Every result that is stored from now on, by whatever process: a hot stream. A result that is replaced before it could be read shows once, as its
   * latest. What is missed while the connection is lost is read afterwards. The order is roughly that of the commits. Errors when the backend is closed.
   */
  results$<T>(options?: ResultFeedOptions<T>): Observable<TaskOutcome<T>>;

  /** Rejects open waits, errors open streams, and lets go of every connection and timer. May be called at any time, and again. */
  close(options?: CloseOptions): Promise<void>;
}
