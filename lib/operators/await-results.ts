import { map, mergeMap, Observable, type OperatorFunction } from "rxjs";
import { WaitTimeoutError } from "../errors";
import type { ResultBackend, TaskOutcome } from "../result-backend";
import { checkDurationMs, checkInteger } from "../value/arguments";

export interface AwaitResultsOptions {
  /** Longest wait for each task, in milliseconds, counted from when its wait begins. 0 reads once; `Infinity` waits until unsubscribed. */
  readonly timeoutMs: number;
  /**
   * Most waits open at once; further ids are kept until one ends, and their time has not begun. 1 or more. Default `Infinity`: a wait costs little, and behind a limit
   * tasks that are long done stand in line after those that are not.
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
  { timeoutMs, concurrency = Infinity }: AwaitResultsOptions,
): OperatorFunction<string, IndexedOutcome<T>> {
  checkDurationMs(timeoutMs, "timeoutMs", { infinite: true });
  checkConcurrency(concurrency);
  return (taskIds$) =>
    new Observable((subscriber) => {
      // One for all waits: a controller each would cost more than the wait.
      const unsubscribed = new AbortController();
      const waitOptions = { timeoutMs, signal: unsubscribed.signal };
      const wait = async (taskId: string, index: number): Promise<IndexedOutcome<T>> => ({
        index,
        outcome: await outcomeOf<T>(backend, taskId, waitOptions),
      });
      subscriber.add(() => unsubscribed.abort());
      subscriber.add(taskIds$.pipe(mergeMap(wait, concurrency)).subscribe(subscriber));
    });
}

export function checkConcurrency(concurrency: number): void {
  if (concurrency !== Infinity) checkInteger(concurrency, "concurrency", 1);
}

async function outcomeOf<T>(
  backend: Pick<ResultBackend, "waitSettled">,
  taskId: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<TaskOutcome<T>> {
  try {
    return { taskId, ...(await backend.waitSettled<T>(taskId, options)) };
  } catch (error) {
    if (!(error instanceof WaitTimeoutError)) throw error;
    return { taskId, status: "rejected", reason: error };
  }
}
