import { map, type OperatorFunction, toArray } from "rxjs";
import type { ResultBackend, TaskOutcome } from "../result-backend";
import { awaitIndexed, type AwaitResultsOptions } from "./await-results";

/**
 * Turns a stream of task ids into one array of what became of the tasks, in the order of the ids, once all of them are settled: `Promise.allSettled` for a stream that ends.
 *
 * ```text
 * ids       a-b-|
 *           settleResults(backend, { timeoutMs: 8 })
 * stored    ---b---a
 * settled   -------(x|)    x: [A, B]
 * ```
 *
 * No ids give an empty array. Outcomes, errors and unsubscribing are as with {@link awaitResults}; all outcomes are kept in memory until the last has come.
 */
export function settleResults<T = unknown>(
  backend: Pick<ResultBackend, "waitSettled">,
  options: AwaitResultsOptions,
): OperatorFunction<string, TaskOutcome<T>[]> {
  const awaitAll = awaitIndexed<T>(backend, options);
  return (taskIds$) =>
    taskIds$.pipe(
      awaitAll,
      toArray(),
      map((all) => all.sort((a, b) => a.index - b.index).map(({ outcome }) => outcome)),
    );
}
