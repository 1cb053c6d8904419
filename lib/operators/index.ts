import { catchError, defer, finalize, map, mergeMap, of, type OperatorFunction, tap, toArray } from "rxjs";
import { isWaitTimeout, WaitTimeoutError } from "../errors";
import type { GroupBackend, GroupProgress, ResultBackend, TaskOutcome } from "../result-backend";
import { checkDurationMs, checkInteger, checkOptions } from "../value/arguments";
import type { TaskId } from "../value/task";

/** Starting 100 000 waits at once took 257 MB and blocked the process for 2.8 s; 10 000 took 32 MB and 0.5 s. */
const defaultConcurrency = 10_000;

export interface AwaitResultsOptions {
  /**
   * Longest wait for each task, in milliseconds, counted from the arrival of its id. 0 reads once; `Infinity` waits
   * until unsubscribed.
   */
  readonly timeoutMs: number;
  /**
   * Largest number of open waits, from 1 to `Infinity`. Further ids queue; a task whose time is over by its turn is
   * still read once. Default 10 000, which take about 30 MB.
   */
  readonly concurrency?: number;
}

export interface GroupProgressOptions {
  /** Largest number of groups watched at once, from 1 to `Infinity`. Further ids queue. Default 10 000. */
  readonly concurrency?: number;
}

/** The progress of a group. */
export interface GroupState extends GroupProgress {
  /** The deadline of the group has passed before the group was done, so this is its last state. */
  readonly expired: boolean;
}

/**
 * Turns a stream of task ids into a stream of outcomes, each emitted as soon as it is known.
 *
 * ```text
 * ids        a-b-c-|
 *            awaitResults(backend, { timeoutMs: 8 })
 * stored     ---b---a            c is never stored
 * outcomes   ---B---A----(C|)    C is rejected with a WaitTimeoutError
 * ```
 *
 * A task that fails or times out is one more outcome: `rejected`, with its `TaskFailedError` or `WaitTimeoutError` as
 * the reason. Ids of a task definition give the outcomes its type. The stream errors if its source does, or if results
 * can no longer be read: with a `BackendClosedError`, a `DatabaseError` or a `SchemaError`. An id that arrives twice is
 * awaited twice. Unsubscribing ends all waits.
 */
export function awaitResults<T = unknown>(
  backend: Pick<ResultBackend, "waitSettled">,
  options: AwaitResultsOptions,
): OperatorFunction<TaskId<T, unknown>, TaskOutcome<T>> {
  const awaitAll = awaitIndexed<T>(backend, options);
  return (taskIds$) => awaitAll(taskIds$).pipe(map(({ outcome }) => outcome));
}

/**
 * Turns a stream of task ids into one array of outcomes, in the order of the ids, once all tasks are settled:
 * `Promise.allSettled` for a stream that completes.
 *
 * ```text
 * ids       a-b-|
 *           settleResults(backend, { timeoutMs: 8 })
 * stored    ---b---a
 * settled   -------(x|)    x: [A, B]
 * ```
 *
 * Without ids it emits an empty array. Outcomes, errors and unsubscribing are those of {@link awaitResults}. All
 * outcomes are kept in memory until the last one arrives.
 */
export function settleResults<T = unknown>(
  backend: Pick<ResultBackend, "waitSettled">,
  options: AwaitResultsOptions,
): OperatorFunction<TaskId<T, unknown>, TaskOutcome<T>[]> {
  const awaitAll = awaitIndexed<T>(backend, options);
  return (taskIds$) =>
    awaitAll(taskIds$).pipe(
      toArray(),
      map((all) => all.sort((a, b) => a.index - b.index).map(({ outcome }) => outcome)),
    );
}

/**
 * Turns a stream of group ids into a stream of group states: the current state of each group, then every change, until
 * the group is done or its deadline has passed.
 *
 * ```text
 * ids        g----h-|
 *            groupProgress(backend)
 * finished   -g-g----h          members of g, which has two, and of h, which has one
 * states     ab-c-d--(e|)       a: 0 of g, b: 1 of g, c: g is done, d: 0 of h, e: h is done
 * ```
 *
 * Completes when its source has completed and each group is done or expired. Errors if its source does, or if groups
 * can no longer be read: with a `BackendClosedError`, a `DatabaseError` or a `SchemaError`. An unknown group emits
 * nothing until it is created.
 */
export function groupProgress(
  backend: Pick<GroupBackend, "group$">,
  options: GroupProgressOptions = {},
): OperatorFunction<string, GroupState> {
  checkOptions(options, { concurrency: true });
  const { concurrency = defaultConcurrency } = options;
  checkConcurrency(concurrency);
  return mergeMap((groupId) => {
    let latest: GroupProgress = { groupId, total: null, completed: 0, failed: 0, done: false };
    return backend.group$(groupId).pipe(
      tap((progress) => (latest = progress)),
      map((progress) => ({ ...progress, expired: false })),
      catchError((error: unknown) => {
        // An expired group must not end the stream of the other groups.
        if (isWaitTimeout(error)) return of({ ...latest, expired: true });
        throw error;
      }),
    );
  }, concurrency);
}

interface IndexedOutcome<T> {
  /** The position of the id in the source. */
  readonly index: number;
  readonly outcome: TaskOutcome<T>;
}

function awaitIndexed<T>(
  backend: Pick<ResultBackend, "waitSettled">,
  options: AwaitResultsOptions,
): OperatorFunction<TaskId<T, unknown>, IndexedOutcome<T>> {
  checkOptions(options, { timeoutMs: true, concurrency: true });
  const { timeoutMs, concurrency = defaultConcurrency } = options;
  checkDurationMs(timeoutMs, "timeoutMs", { infinite: true });
  checkConcurrency(concurrency);
  const waitSettled = async (
    taskId: TaskId<T, unknown>,
    arrivedAt: number,
    signal: AbortSignal,
  ): Promise<TaskOutcome<T>> => {
    const remainingMs = Math.max(0, timeoutMs - Math.floor(performance.now() - arrivedAt));
    try {
      return { taskId, ...(await backend.waitSettled<T>(taskId, { timeoutMs: remainingMs, signal })) };
    } catch (error) {
      if (!isWaitTimeout(error)) throw error;
      // With the given timeout rather than what was left of it after queueing.
      const { cause } = error;
      const reason = error.timeoutMs === timeoutMs ? error : new WaitTimeoutError({ taskId }, timeoutMs, { cause });
      return { taskId, status: "rejected", reason };
    }
  };
  return (taskIds$) =>
    defer(() => {
      // One controller for all waits: one for each would cost more than the wait itself.
      const unsubscribed = new AbortController();
      return taskIds$.pipe(
        map((taskId) => ({ taskId, arrivedAt: performance.now() })),
        mergeMap(async ({ taskId, arrivedAt }, index) => {
          return { index, outcome: await waitSettled(taskId, arrivedAt, unsubscribed.signal) };
        }, concurrency),
        finalize(() => unsubscribed.abort()),
      );
    });
}

function checkConcurrency(concurrency: number): void {
  if (concurrency !== Infinity) checkInteger(concurrency, "concurrency", 1);
}
