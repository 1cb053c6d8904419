import type { StoreOptions } from "../result-backend";
import { runAttempt, runTask, type RunTaskOptions, type TaskStore } from "./run-task";

export { runTask, type RunTaskOptions, type TaskStore };

// The types below are those parts of each queue's own types that are used, so that none of them is a dependency.

/** A job of pg-boss with its metadata. */
export interface PgBossJob {
  readonly id: string;
  readonly retryCount: number;
  readonly retryLimit: number;
}

/** The second argument of a task of graphile-worker. */
export interface GraphileHelpers {
  readonly job: { readonly attempts: number; readonly max_attempts: number };
}

/** A job of BullMQ. */
export interface BullMqJob {
  readonly id?: string | undefined;
  readonly attemptsMade: number;
  readonly opts: { readonly attempts?: number | undefined };
}

/** Options of a handler that stores the outcomes of its jobs. */
export interface QueueOptions<Job> extends Pick<StoreOptions, "ttlMs" | "onConflict"> {
  /** Returns the id by which other processes await a job. Default: see each function. */
  readonly taskId?: (job: Job) => string;
}

/**
 * Creates a handler for `work` of pg-boss, version 10 or later, that stores the outcome of each job. `work` needs the
 * option `includeMetadata: true`. By default the task id is the id of the job.
 *
 * pg-boss retries the jobs of a batch together. Use a `batchSize` of 1, its default.
 */
export function pgBossHandler<Job extends PgBossJob, T>(
  backend: TaskStore,
  work: (job: Job) => T | PromiseLike<T>,
  { taskId = ({ id }) => id, ...options }: QueueOptions<Job> = {},
): (jobs: Job[]) => Promise<T | undefined> {
  const run = async (job: Job): Promise<T> => {
    const { retryCount, retryLimit } = job as Partial<PgBossJob>;
    if (retryCount === undefined || retryLimit === undefined)
      throw new TypeError("job: expected the metadata of pg-boss; call work with { includeMetadata: true }.");
    const attempts = { attempt: retryCount + 1, maxAttempts: retryLimit + 1 };
    return runTask<T>(backend, taskId(job), async () => work(job), { ...options, ...attempts });
  };
  return async (jobs) => {
    // All of them, even if one fails: they are retried together, and none may still be running then.
    const outcomes = await Promise.allSettled(jobs.map(run));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    const [first] = outcomes;
    return outcomes.length === 1 && first?.status === "fulfilled" ? first.value : undefined;
  };
}

/**
 * Creates a task of graphile-worker that stores the outcome of each job. By default the task id is the property
 * `taskId` of the payload: the ids of jobs are small numbers that are easy to guess.
 */
export function graphileTask<Payload, Helpers extends GraphileHelpers, T>(
  backend: TaskStore,
  work: (payload: Payload, helpers: Helpers) => T | PromiseLike<T>,
  { taskId = (payload) => (payload as { taskId: string }).taskId, ...options }: QueueOptions<Payload> = {},
): (payload: unknown, helpers: Helpers) => Promise<void> {
  return async (payload, helpers) => {
    const { attempts, max_attempts } = helpers.job;
    const limits = { attempt: attempts, maxAttempts: max_attempts };
    const given = payload as Payload;
    await runTask<T>(backend, taskId(given), async () => work(given, helpers), { ...options, ...limits });
  };
}

/**
 * Creates a processor for a `Worker` of BullMQ that stores the outcome of each job. By default the task id is the id of
 * the job. An `UnrecoverableError` or a subclass of it counts as the last attempt. An error that moves the job back to
 * the queue, such as `DelayedError`, is no failure.
 */
export function bullMqProcessor<Job extends BullMqJob, T, Rest extends unknown[]>(
  backend: TaskStore,
  work: (job: Job, ...rest: Rest) => T | PromiseLike<T>,
  { taskId = ({ id }) => id ?? "", ...options }: QueueOptions<Job> = {},
): (job: Job, ...rest: Rest) => Promise<T> {
  return async (job, ...rest) => {
    // `attemptsMade` does not count this attempt.
    const isLast = job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
    const isFinal = (error: unknown): boolean => !isPostponed(error) && (isLast || isOf("UnrecoverableError", error));
    return runAttempt<T>(backend, taskId(job), async () => work(job, ...rest), isFinal, options);
  };
}

/** Names of errors by which a processor of BullMQ moves its job to another state. */
const postponing: readonly string[] = ["DelayedError", "WaitingError", "WaitingChildrenError"];
/** Message of BullMQ's `RateLimitError`. Its class does not count (BullMQ 5 and 6, `Worker.handleFailed`). */
const rateLimitMessage = "bullmq:rateLimitExceeded";

const isPostponed = (error: unknown): boolean =>
  (error as { message?: unknown } | undefined | null)?.message === rateLimitMessage ||
  postponing.some((name) => isOf(name, error));

/** Tells whether an error has this name or is of a class of this name, as BullMQ decides by `name` and `instanceof`. */
function isOf(className: string, error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  if ((error as { name?: unknown }).name === className) return true;
  // Not instanceof: BullMQ is no dependency. Its constructors set `name`, so a subclass has another one.
  let prototype: unknown = Object.getPrototypeOf(error);
  while (prototype !== null) {
    if ((prototype as { constructor?: { name?: unknown } }).constructor?.name === className) return true;
    prototype = Object.getPrototypeOf(prototype);
  }
  return false;
}
