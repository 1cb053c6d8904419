import { concatMap, defer, type Observable } from "rxjs";
import { toFeedOptions, toSchema, toTaskReadOptions } from "../call-options";
import { DatabaseError, TaskNotFoundError, WaitTimeoutError } from "../errors";
import type { ReadOptions, ResultFeedOptions, TaskOutcome, TaskReadOptions, TaskWaitOptions } from "../result-backend";
import { checkId } from "../value/arguments";
import type { StoredResult } from "../value/decoding";
import { schemaFor, type TaskId } from "../value/task";
import { Call, type Deadlines, throwIfAborted } from "../waiting/deadlines";
import { lastReadMs, type WaitLimits, withWaitOptions } from "../waiting/waits";
import type { Reader } from "./reader";

/** Where results of tasks are stored. */
export interface TaskSource {
  readonly deadlines: Deadlines;
  /** @throws {@link BackendClosedError} */
  assertOpen(): void;
  load(taskId: string): Promise<StoredResult | undefined>;
  /** Tells whether a task has a result, is expected, or has chunks. */
  exists(taskId: string): Promise<boolean>;
  /** Emits a result as soon as it is stored, and completes. */
  watch$(taskId: string, limits?: WaitLimits): Observable<StoredResult>;
  /** Resolves with the first value of a wait for a task. */
  first(taskId: string, stored$: Observable<StoredResult>): Promise<StoredResult>;
  /** Emits what is stored from now on. */
  stored$(where: (taskId: string) => boolean): Observable<StoredResult>;
}

type Timeout<T> = number | TaskWaitOptions<T>;

/** The reads and waits for results of tasks that every backend has: checks their arguments, and decodes the results. */
export class TaskReads {
  readonly #source: TaskSource;
  readonly #reader: Reader;

  constructor(source: TaskSource, reader: Reader) {
    this.#source = source;
    this.#reader = reader;
  }

  async get<T>(taskId: TaskId<T, unknown>, options?: TaskReadOptions<T>): Promise<T | undefined> {
    const { schema, mustExist } = toTaskReadOptions(options);
    const stored = await this.#load(taskId, mustExist);
    return stored && this.#reader.value(stored, schemaFor(taskId, schema));
  }

  async getSettled<T>(
    taskId: TaskId<T, unknown>,
    options?: TaskReadOptions<T>,
  ): Promise<PromiseSettledResult<T> | undefined> {
    const { schema, mustExist } = toTaskReadOptions(options);
    const stored = await this.#load(taskId, mustExist);
    return stored && this.#reader.settled(stored, schemaFor(taskId, schema));
  }

  wait<T>(taskId: TaskId<T, unknown>, timeout: Timeout<T>): Promise<T> {
    return withWaitOptions(timeout, (options) =>
      this.#reader.value(this.#wait(taskId, options), schemaFor(taskId, options.schema), {
        target: { taskId },
        ...options,
      }),
    );
  }

  waitSettled<T>(taskId: TaskId<T, unknown>, timeout: Timeout<T>): Promise<PromiseSettledResult<T>> {
    return withWaitOptions(timeout, (options) =>
      this.#reader.settled(this.#wait(taskId, options), schemaFor(taskId, options.schema), {
        target: { taskId },
        ...options,
      }),
    );
  }

  result$<T>(taskId: TaskId<T, unknown>, options?: ReadOptions<T>): Observable<T> {
    checkId(taskId, "taskId");
    const schema = toSchema(options);
    return this.#reader.value$(this.#source.watch$(taskId), schemaFor(taskId, schema));
  }

  results$<T>(options?: ResultFeedOptions<T>): Observable<TaskOutcome<T>> {
    const { where, schema } = toFeedOptions(options);
    return this.#reader.outcome$(this.#source.stored$(where), schema);
  }

  async #load(taskId: string, mustExist = false): Promise<StoredResult | undefined> {
    checkId(taskId, "taskId");
    this.#source.assertOpen();
    const stored = await this.#source.load(taskId);
    if (stored === undefined && mustExist && !(await this.#source.exists(taskId))) throw new TaskNotFoundError(taskId);
    return stored;
  }

  #wait(taskId: string, options: TaskWaitOptions): Promise<StoredResult> {
    checkId(taskId, "taskId");
    this.#source.assertOpen();
    const stored$ =
      options.mustExist === true ? this.#existing$(taskId, options) : this.#source.watch$(taskId, options);
    return this.#source.first(taskId, stored$);
  }

  /** Waits for a task if it exists, and errors at once if it does not. */
  #existing$(taskId: string, options: TaskWaitOptions): Observable<StoredResult> {
    const { deadlines } = this.#source;
    const { timeoutMs } = options;
    return defer(() => {
      const site = deadlines.callSite();
      const dueAt = deadlines.now() + timeoutMs;
      return defer(async () => this.#assertExists(taskId, options)).pipe(
        concatMap(() => {
          const leftMs = Math.max(0, dueAt - deadlines.now());
          return this.#source.watch$(taskId, { ...options, timeoutMs: leftMs, callTimeoutMs: timeoutMs, site });
        }),
      );
    });
  }

  /** Checks within the time of a wait that its task exists. If an outage outlasts the check, the wait goes on. */
  async #assertExists(taskId: string, { timeoutMs, signal }: TaskWaitOptions): Promise<void> {
    throwIfAborted(signal);
    const late = (): Error => new WaitTimeoutError({ taskId }, timeoutMs);
    const check = new Call<boolean>(this.#source.deadlines, Math.max(timeoutMs, lastReadMs), late, signal);
    this.#source.exists(taskId).then(
      (exists) => check.resolve(exists),
      (error: unknown) => {
        if (error instanceof DatabaseError && error.transient) check.resolve(true);
        else check.reject(error);
      },
    );
    if (!(await check.promise)) throw new TaskNotFoundError(taskId);
  }
}
