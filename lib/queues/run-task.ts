import type { ResultBackend, StoreOptions } from "../result-backend";
import { checkId, checkInteger, checkOptions } from "../value/arguments";
import type { TaskId } from "../value/task";

/** What `runTask` writes with. Any result backend fits. */
export type TaskStore = Pick<ResultBackend, "store" | "fail">;

/** Number of an attempt, and how its outcome is stored. */
export interface RunTaskOptions extends Pick<StoreOptions, "ttlMs" | "onConflict"> {
  /** Number of this attempt. 1 or more. */
  readonly attempt: number;
  /** Attempts after which the queue gives up. 1 or more; `Infinity` if it never does. */
  readonly maxAttempts: number;
}

/**
 * Runs a task of a queue, stores its result, and resolves with it. If `work` rejects, rejects with the same error, so
 * that the queue retries the task. The failure is stored only after the last attempt.
 *
 * @param taskId - The id by which other processes await the task.
 * @throws DatabaseError The result could not be stored. This does not store a failure.
 * @throws AggregateError The last attempt failed, and the failure could not be stored. `errors` has both errors.
 */
export async function runTask<T>(
  backend: TaskStore,
  taskId: TaskId<unknown, T>,
  work: () => T | PromiseLike<T>,
  { attempt, maxAttempts, ...options }: RunTaskOptions,
): Promise<T> {
  checkInteger(attempt, "attempt", 1);
  if (maxAttempts !== Infinity) checkInteger(maxAttempts, "maxAttempts", 1);
  return runAttempt(backend, taskId, work, () => attempt >= maxAttempts, options);
}

/** Runs an attempt of which `isFinal` tells, by its error, if no other follows. */
export async function runAttempt<T>(
  backend: TaskStore,
  taskId: TaskId<unknown, T>,
  work: () => T | PromiseLike<T>,
  isFinal: (error: unknown) => boolean,
  options: Pick<StoreOptions, "ttlMs" | "onConflict">,
): Promise<T> {
  checkId(taskId, "taskId");
  // Before the work: `store` would reject with it afterwards, and the result would be lost.
  checkOptions(options, { ttlMs: true, onConflict: true });
  let result: T;
  try {
    result = await work();
  } catch (error) {
    if (isFinal(error)) await storeFailure(backend, taskId, error, options);
    throw error;
  }
  // Outside the try: if this rejects, the task has not failed.
  await backend.store<unknown>(taskId, result, options);
  return result;
}

async function storeFailure(
  backend: TaskStore,
  taskId: string,
  error: unknown,
  options: Pick<StoreOptions, "ttlMs" | "onConflict">,
): Promise<void> {
  await backend.fail(taskId, error, options).catch((storeError: unknown) => {
    throw new AggregateError([error, storeError], `Task ${taskId} failed, and its failure could not be stored.`);
  });
}
