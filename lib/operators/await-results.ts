import { map, mergeMap, Observable, type OperatorFunction } from "rxjs";
import { WaitTimeoutError } from "../errors";
import { isWaitTimeout } from "../value/foreign";
import type { ResultBackend, TaskOutcome } from "../result-backend";
import { checkDurationMs, checkInteger } from "../value/arguments";

/** A wait takes about 3 KB here: 100 000 at once took 257 MB, and beginning them held up the process for 2.8 s on a busy machine; 10 000 took 32 MB and 0.5 s. */
export const defaultConcurrency = 10_000;

export interface AwaitResultsOptions {
  /** Longest wait for each task, in milliseconds, counted from when its id comes. 0 reads once; `Infinity` waits until unsubscribed. */
  readonly timeoutMs: number;
  /**
   * Most waits open at once. Further ids stand in line; one whose time is up by its turn is still read once. 1 or more; `Infinity` for no limit. Default 10 000, which
   * take about 30 MB.
   */
  readonly concurrency?: number;
}

/**
 * Turns a stream of task ids into a stream of what became of the tasks, each as soon as it is known.
 *
 * ```text
 * ids        a-b-c-|
 *            awaitResults(backend, { timeoutMs: 8 })
 * stored     ---b---a            and never c
 * outcomes   ---B---A----(C|)    C: rejected, with a WaitTimeoutError
 * ```
 *
 * A task that failed, or has no result in time, is one more outcome: `rejected`, with its `TaskFailedError` or `WaitTimeoutError` as the reason. The stream errors when
 * its source does, and when nothing can be read any more: with a `BackendClosedError`, a `DatabaseError` or a `SchemaError`. An id that comes twice is awaited twice.
 * Unsubscribing ends all waits.
 */
export function awaitResults<T = unknown>(
  backend: Pick<ResultBackend, "waitSettled">,
  options: AwaitResultsOptions,
): OperatorFunction<string, TaskOutcome<T>> {
  const awaitAll = awaitIndexed<T>(backend, options);
  return (taskIds$) =>
    taskIds$.pipe(
      awaitAll,
      map(({ outcome }) => outcome),
    );
}

/** An outcome, and the place of its id among the ids. */
export interface IndexedOutcome<T> {
  readonly index: number;
  readonly outcome: TaskOutcome<T>;
}

/** As {@link awaitResults}, for who needs to know the order of the ids. */
export function awaitIndexed<T>(
  backend: Pick<ResultBackend, "waitSettled">,
  { timeoutMs, concurrency = defaultConcurrency }: AwaitResultsOptions,
): OperatorFunction<string, IndexedOutcome<T>> {
  checkDurationMs(timeoutMs, "timeoutMs", { infinite: true });
  checkConcurrency(concurrency);
  return (taskIds$) =>
    new Observable((subscriber) => {
      // One for all waits: a controller each would cost more than the wait.
      const unsubscribed = new AbortController();
      const { signal } = unsubscribed;
      const wait = async ({ taskId, cameAt }: Arrival, index: number): Promise<IndexedOutcome<T>> => {
        const leftMs = Math.max(0, timeoutMs - Math.floor(performance.now() - cameAt));
        try {
          const settled = await backend.waitSettled<T>(taskId, { timeoutMs: leftMs, signal });
          return { index, outcome: { taskId, ...settled } };
        } catch (error) {
          if (!isWaitTimeout(error)) throw error;
          return { index, outcome: { taskId, status: "rejected", reason: withLimit(error, taskId, timeoutMs) } };
        }
      };
      subscriber.add(() => unsubscribed.abort());
      const arrivals$ = taskIds$.pipe(map((taskId) => ({ taskId, cameAt: performance.now() })));
      subscriber.add(arrivals$.pipe(mergeMap(wait, concurrency)).subscribe(subscriber));
    });
}

interface Arrival {
  readonly taskId: string;
  readonly cameAt: number;
}

export function checkConcurrency(concurrency: number): void {
  if (concurrency !== Infinity) checkInteger(concurrency, "concurrency", 1);
}

/** Tells of the time that was given, and not of what of it was left after standing in line. */
function withLimit(error: WaitTimeoutError, taskId: string, timeoutMs: number): WaitTimeoutError {
  if (error.timeoutMs === timeoutMs) return error;
  return new WaitTimeoutError({ taskId }, timeoutMs, { cause: error.cause });
}
