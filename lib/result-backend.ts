import type { QueryResultRow } from "pg";
import type { Observable } from "rxjs";
import type { ResultSchema } from "./value/decoding";
import type { TaskId } from "./value/task";

/**
 * Outcome of a task: its value, or as `reason` the `TaskFailedError` it ended with. `reason` may also be a
 * `ResultValidationError` if the codec or the schema of the stream rejects the result.
 */
export type TaskOutcome<T> = { readonly taskId: TaskId<T, unknown> } & PromiseSettledResult<T>;

/**
 * Client for writes in a transaction of the caller. `Client` and `PoolClient` of `pg` fit. The functions of
 * `kojin-postgres/clients` return one for a transaction of another library. The caller owns the client and its
 * transaction.
 */
export interface SqlClient {
  /**
   * Runs a statement with the placeholders `$1`, `$2` and so on. Each value is a string, a finite number, a boolean or
   * null; an array comes as the text of a PostgreSQL array.
   */
  query(text: string, values: unknown[]): Promise<{ rows: QueryResultRow[] }>;
}

export interface WriteOptions {
  /**
   * The caller's client with an open transaction: the write and its notification take effect when that transaction
   * commits. Such a write is neither batched nor retried.
   */
  readonly client?: SqlClient;
}

export interface StoreOptions extends WriteOptions {
  /**
   * Time to live of this result, in milliseconds. More than 0; `Infinity` never expires. Default: the backend's
   * `ttlMs`.
   */
  readonly ttlMs?: number;
  /** If the task already has a result, `'replace'` it or `'keep'` the first. Default `'replace'`. */
  readonly onConflict?: "replace" | "keep";
}

export interface WaitOptions {
  /**
   * Longest wait, in milliseconds, counted from the call. 0 reads once; `Infinity` waits until the backend is closed.
   * The last read, at the deadline, may take one more second if the database does not answer.
   */
  readonly timeoutMs: number;
  /** Aborts the wait, which rejects with `signal.reason`. The task is not affected. */
  readonly signal?: AbortSignal;
}

export interface ReadOptions<T = unknown> {
  /**
   * Standard Schema (zod, valibot, arktype and others) that validates the result and determines its type. It may be
   * asynchronous; in a wait it may use the remaining time, but at least a second. If it rejects the result, only this
   * call rejects, with a `ResultValidationError`.
   */
  readonly schema?: ResultSchema<T>;
}

/** Options of a read of one task. */
export interface TaskReadOptions<T = unknown> extends ReadOptions<T> {
  /**
   * Rejects at once with a `TaskNotFoundError` if the task is unknown: it has no result and no chunks, and is not
   * expected. Default `false`: an unknown task counts as one that has not finished.
   */
  readonly mustExist?: boolean;
}

/** Options of a wait for one task. */
export interface TaskWaitOptions<T = unknown> extends WaitOptions, TaskReadOptions<T> {}

export interface ExpectOptions extends WriteOptions {
  /**
   * Time for which the task is expected, in milliseconds. More than 0; `Infinity` never expires. Default: the backend's
   * `ttlMs`.
   */
  readonly ttlMs?: number;
}

export interface ResultFeedOptions<T = unknown> extends ReadOptions<T> {
  /**
   * Selects the results to emit; others are not even read. Passing `is` of a task definition also types them. Default:
   * all.
   */
  readonly where?: ((taskId: string) => boolean) | ((taskId: string) => taskId is TaskId<T, unknown>);
}

export interface CloseOptions {
  /** Time for which open waits may continue, in milliseconds. Default 0: they reject at once. */
  readonly drainMs?: number;
}

export interface GroupOptions extends WriteOptions {
  /**
   * Time to live after completion, in milliseconds. More than 0; `Infinity` never expires. Default: the backend's
   * `ttlMs`.
   */
  readonly ttlMs?: number;
  /**
   * Time for which the group may stay open, in milliseconds. More than 0. After that the group has expired, and its
   * waits reject with a `WaitTimeoutError`. Default `Infinity`: an open group does not expire.
   */
  readonly deadlineMs?: number;
}

export interface ClaimOptions {
  /** The caller's client with an open transaction: the claim takes effect when that transaction commits. */
  readonly client?: SqlClient;
  /** Time for which the claim lasts without `ack()`, in milliseconds. 1 or more. Default: the claim is permanent. */
  readonly leaseMs?: number;
}

/** Progress of a group. */
export interface GroupProgress {
  readonly groupId: string;
  /** Number of members; null until the group is initialised. */
  readonly total: number | null;
  /** Members with a result. */
  readonly completed: number;
  /** Members that failed and have not succeeded since. */
  readonly failed: number;
  /** True once `completed + failed` has reached the total. */
  readonly done: boolean;
}

/** Exclusive right to act on a completed group. */
export interface GroupClaim {
  readonly groupId: string;
  /**
   * Confirms that the work is done, so that the group is never claimed again. Resolves with `false` if the lease has
   * ended and another caller holds the claim.
   */
  ack(): Promise<boolean>;
}

export interface UnclaimedOptions {
  /** Most groups to return. 1 to 10 000; default 100. */
  readonly limit?: number;
}

/** Place of a chunk in the stream of its task. */
export interface ChunkPosition {
  /** 1 at first, and one more after each restart. */
  readonly attempt: number;
  /** Number of the chunk, counted from 1 in each attempt. */
  readonly sequence: number;
}

/**
 * Item of the stream of a task. `kind: 'chunk'`: a chunk. `kind: 'restart'`: the task was started again, with the
 * sequence 0. Discard the chunks before it; those of the new attempt follow.
 */
export type Chunk<T> = ChunkPosition &
  ({ readonly kind: "chunk"; readonly value: T } | { readonly kind: "restart"; readonly sequence: 0 });

export interface EmitOptions extends WriteOptions {
  /**
   * Starts another attempt: the chunks so far are deleted, and this one gets the number 1. Set it for the first chunk
   * of a task that is tried again. Default `false`.
   */
  readonly restart?: boolean;
}

export interface ChunkOptions<T = unknown> {
  /**
   * Emits only what follows this place: the last item that was received, or its number if the task never restarts.
   * Default 0: everything.
   */
  readonly after?: number | ChunkPosition;
  /** Standard Schema that validates each chunk and determines its type. It may be asynchronous. */
  readonly schema?: ResultSchema<T>;
}

/** Chunks of tasks that are still running: progress, tokens, partial results. */
export interface ChunkBackend {
  /**
   * Appends a chunk to the stream of a task. Resolves after the commit with the number of the chunk: 1, 2, 3 and so on,
   * in commit order. Calls of one process for the same task keep their order. The chunks live for `ttlMs` after the
   * latest one, or up to a tenth less; once the task has a result, as long as the result.
   *
   * @param chunk - Any value JSON can hold; `undefined` is stored as `null`.
   * @throws {@link TaskFinishedError} The task already has a result.
   * @throws {@link ResultEncodingError} JSON or jsonb cannot hold the chunk, or it is too large.
   * @throws {@link DatabaseError} Postgres rejected the chunk, or could not be reached for `retryTimeoutMs`. It may
   * still have been stored.
   */
  emit<T>(taskId: string, chunk: T, options?: EmitOptions): Promise<number>;

  /**
   * Emits the chunks of a task exactly once and in order: stored chunks first, then the rest as they come (cold).
   * Completes when the task's result is stored, and errors with its `TaskFailedError` if it failed. Lost connections
   * only delay chunks. For a slow reader use `for await`, which holds one page of about a megabyte at a time.
   *
   * @throws {@link TaskFailedError} The task failed.
   * @throws {@link ResultValidationError} The codec or the schema rejects a chunk.
   * @throws {@link BackendClosedError} The backend was closed.
   */
  chunks$<T>(taskId: string, options?: ChunkOptions<T>): Observable<Chunk<T>> & AsyncIterable<Chunk<T>>;
}

/** Groups of tasks that are awaited as a whole. Members are counted exactly, no matter which process completes them. */
export interface GroupBackend {
  /**
   * Declares the members of a group, by number or by id. Repeating the same declaration has no effect. Members may
   * already have finished. A group of 0 completes at once.
   *
   * @param members - Number of members, 0 or more, or their distinct ids. With ids, results come in that order, and no
   * other member is accepted.
   * @throws {@link GroupConflictError} The group was initialised with another total or other members, or more members
   * have already finished.
   */
  initGroup(groupId: string, members: number | readonly string[], options?: GroupOptions): Promise<void>;

  /**
   * Stores the result of a member, and resolves with the number of completed members. Each first completion gets a
   * different number, so exactly one gets the total. Completing a member again replaces its result without counting it
   * again, and resolves with the current number.
   *
   * @throws {@link GroupConflictError} The group does not declare this member, or already has all its members. Nothing
   * is stored.
   */
  completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<unknown, T>,
    result: NoInfer<T>,
    options?: WriteOptions,
  ): Promise<number>;

  /**
   * Stores the failure of a member, which finishes it, and resolves with the number of completed members. A success of
   * the same member takes precedence, whether it is stored before or after. If the task is retried, call this only
   * after the last attempt: the failed member may complete the group, whose waits then reject.
   */
  failGroupMember(groupId: string, taskId: string, error: unknown, options?: WriteOptions): Promise<number>;

  /**
   * Deletes a group with its members, finished or not, and with any claim on it. Resolves with `true` if there was one.
   * Sends no notification: waits for the group and its streams go on as for a group that does not exist yet. End the
   * tasks of the members first, since a member that finishes later starts the group anew.
   */
  deleteGroup(groupId: string, options?: WriteOptions): Promise<boolean>;

  /**
   * Returns the results of the completed members, in declared order, or in byte order of their ids if only a number was
   * declared. Empty for an unknown group.
   */
  getGroupResults<T>(groupId: string, options?: ReadOptions<T>): Promise<T[]>;

  /** Returns the progress of a group; `undefined` if the group is unknown. */
  getGroup(groupId: string): Promise<GroupProgress | undefined>;

  /**
   * Resolves with the results of a group once it is complete.
   *
   * @throws {@link GroupFailedError} The group is complete, and members failed.
   * @throws {@link ResultValidationError} The schema rejects the result of a member.
   * @throws {@link WaitTimeoutError} The group did not complete in time. The message says how far it was.
   */
  waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]>;

  /**
   * Emits the progress of a group now and at every change, and completes when the group does. Changes in quick
   * succession may be combined. Emits nothing for an unknown group.
   */
  group$(groupId: string): Observable<GroupProgress>;

  /**
   * Emits each member's outcome exactly once: finished members first, in the order in which they finished, then the
   * rest as they finish. Completes when the group does.
   */
  groupMembers$<T>(groupId: string, options?: ReadOptions<T>): Observable<TaskOutcome<T>>;

  /** Emits the results of a group once, when it is complete; errors with `GroupFailedError` if members failed. */
  groupResults$<T>(groupId: string, options?: ReadOptions<T>): Observable<T[]>;

  /**
   * Emits every group that completes from now on (hot). Completions missed while the connection is lost are read
   * afterwards.
   */
  groupCompletions$(): Observable<GroupProgress>;

  /**
   * Claims a completed group for exactly one caller. Resolves with `undefined` if the group is not complete or is
   * already claimed. Without options the claim is permanent. With `client` it is part of the caller's transaction. With
   * `leaseMs` it ends after that time unless it is acknowledged.
   */
  claimGroup(groupId: string, options?: ClaimOptions): Promise<GroupClaim | undefined>;

  /**
   * Returns completed groups that are not claimed, or whose lease ended without `ack()`, in order of completion. Call
   * it after a restart.
   */
  unclaimedGroups(options?: UnclaimedOptions): Promise<GroupProgress[]>;
}

/** Stores results of tasks, and lets any process await them. */
export interface ResultBackend extends GroupBackend, ChunkBackend, AsyncDisposable {
  /**
   * Stores the result of a task. Resolves after the commit, which notifies the waits for the task.
   *
   * @param taskId - 1 to 512 bytes of UTF-8, without NUL and lone surrogates.
   * @param result - Any value JSON can hold; `undefined` is stored as `null`.
   * @throws {@link ResultEncodingError} JSON or jsonb cannot hold the result, or it is too large. Nothing was sent.
   * @throws {@link DatabaseError} Postgres rejected the result, or could not be reached for `retryTimeoutMs`. It may
   * still have been stored.
   */
  store<T>(taskId: TaskId<unknown, T>, result: NoInfer<T>, options?: StoreOptions): Promise<void>;

  /**
   * Stores the failure of a task. Waits for the task reject with a `TaskFailedError` that has the name, message, code,
   * details and cause of the error.
   *
   * @param error - Usually an `Error`; any thrown value is accepted. Stacks are not stored.
   */
  fail(taskId: string, error: unknown, options?: StoreOptions): Promise<void>;

  /**
   * Marks a task as expected, so that reads with `mustExist` can tell a task that has not finished from one that does
   * not exist. Call it before the task can start, best in the transaction that enqueues it. Has no effect if the task
   * has a result. Repeating the call can only extend the time. Once the task emits chunks, it is expected for as long
   * as they live; once it has a result, it exists for as long as the result.
   */
  expect(taskId: string, options?: ExpectOptions): Promise<void>;

  /**
   * Returns the stored result, or `undefined` if there is none or it has expired. A stored `null` is returned as
   * `null`.
   *
   * @throws {@link TaskFailedError} The task failed.
   * @throws {@link ResultValidationError} The codec or the schema rejects the stored result.
   * @throws {@link TaskNotFoundError} The task is unknown, and `mustExist` is set.
   */
  get<T>(taskId: TaskId<T, unknown>, options?: TaskReadOptions<T>): Promise<T | undefined>;

  /** Like {@link ResultBackend.get}, but returns a failure as a value: `{ status: 'rejected', reason }`. */
  getSettled<T>(taskId: TaskId<T, unknown>, options?: TaskReadOptions<T>): Promise<PromiseSettledResult<T> | undefined>;

  /**
   * Resolves with the result of a task, at once if it is already stored. A lost listener only delays the result.
   *
   * @param timeout - Milliseconds, or {@link TaskWaitOptions}.
   * @throws {@link TaskFailedError} The task failed.
   * @throws {@link ResultValidationError} The codec or the schema rejects the stored result.
   * @throws {@link WaitTimeoutError} Nothing was stored in time; the task may still finish later.
   * @throws {@link TaskNotFoundError} The task is unknown, and `mustExist` is set.
   * @throws {@link BackendClosedError} The backend was closed.
   * @throws {@link DatabaseError} Reading is not permitted, or fails permanently. During an outage the wait continues.
   */
  wait<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<T>;

  /** Like {@link ResultBackend.wait}, but returns a failure as a value: `{ status: 'rejected', reason }`. */
  waitSettled<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<PromiseSettledResult<T>>;

  /**
   * Deletes a result and the chunks of its task, which is then unknown. Resolves with `true` if there was one. Sends no
   * notification.
   */
  delete(taskId: string, options?: WriteOptions): Promise<boolean>;

  /**
   * Emits the result of a task as soon as it is stored, and completes (cold). Errors when {@link ResultBackend.wait}
   * would reject, but has no timeout. Unsubscribing ends the wait.
   */
  result$<T>(taskId: TaskId<T, unknown>, options?: ReadOptions<T>): Observable<T>;

  /**
   * Emits every result that any process stores from now on (hot), roughly in commit order. If a result is replaced
   * before it is read, only its latest value is emitted. Results missed while the connection is lost are read
   * afterwards. Errors when the backend is closed.
   */
  results$<T>(options?: ResultFeedOptions<T>): Observable<TaskOutcome<T>>;

  /**
   * Closes the backend: rejects open waits, errors open streams, and releases every connection and timer. May be called
   * at any time, and more than once.
   */
  close(options?: CloseOptions): Promise<void>;
}
