import { concatMap, map, type Observable } from "rxjs";
import { Call, type Deadlines, throwIfAborted } from "../waiting/deadlines";
import { isTaskFailed, ResultEncodingError, ResultValidationError, type WaitTarget, WaitTimeoutError } from "../errors";
import { decodeResult, type ResultSchema, type StoredResult } from "../value/decoding";
import type { TaskOutcome } from "../result-backend";
import { maxDurationMs } from "../value/arguments";
import type { Codec } from "../value/encoding";
import { toFailedError } from "../value/failure";
import { Aborts, throwIfAborted } from "../waiting/signals";
import { lastReadMs } from "../waiting/waits";

/** How long a check by a schema may take. */
export interface CheckLimits {
  /** The task or group that is waited for, for the error. */
  readonly target: WaitTarget;
  /** Counted from the call, the wait for the result included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * From stored JSON to what a caller gets: through the codec, and through the schema that this caller gave. A schema is the caller's own code, and may be slow, or
 * throw, or never answer; so it runs after the result has left the parts that others share, and nobody else waits for it.
 */
export class Reader {
  readonly #codec: Codec | undefined;
  readonly #deadlines: Deadlines;
  readonly #aborts = new Aborts();
  readonly #checks = new Set<Promise<unknown>>();

  constructor(deadlines: Deadlines, codec: Codec | undefined) {
    this.#deadlines = deadlines;
    this.#codec = codec;
  }

  /** The stored value; throws the `TaskFailedError` of a failure. */
  value<T>(stored: StoredResult): T {
    return decodeResult<T>(stored, this.#codec);
  }

  settled<T>(stored: StoredResult): PromiseSettledResult<T> {
    if (stored.error === null) return { status: "fulfilled", value: this.value<T>(stored) };
    return { status: "rejected", reason: toFailedError(stored.taskId, stored.error) };
  }

  /** What is there now; undefined if nothing is. */
  async found<T>(stored: StoredResult | undefined, schema: ResultSchema<T> | undefined): Promise<T | undefined> {
    if (stored === undefined) return undefined;
    return schema === undefined ? this.value<T>(stored) : this.check(stored, schema);
  }

  /** The same, where a task that failed is a value. */
  async foundSettled<T>(
    stored: StoredResult | undefined,
    schema: ResultSchema<T> | undefined,
  ): Promise<PromiseSettledResult<T> | undefined> {
    if (stored === undefined) return undefined;
    return schema === undefined ? this.settled<T>(stored) : this.checkSettled(stored, schema);
  }

  /** The results of a group that are there now. */
  async all<T>(stored: readonly StoredResult[], schema: ResultSchema<T> | undefined): Promise<T[]> {
    return schema === undefined ? stored.map((each) => this.value<T>(each)) : this.checkAll(stored, schema);
  }

  /** Results as they come, in order; the first that failed ends the stream. */
  values$<T>(stored$: Observable<StoredResult>, schema: ResultSchema<T> | undefined): Observable<T> {
    if (schema === undefined) return stored$.pipe(map((stored) => this.value<T>(stored)));
    return stored$.pipe(concatMap(async (stored) => this.check(stored, schema)));
  }

  /** The same for the results of groups. */
  all$<T>(stored$: Observable<readonly StoredResult[]>, schema: ResultSchema<T> | undefined): Observable<T[]> {
    if (schema === undefined) return stored$.pipe(map((stored) => stored.map((each) => this.value<T>(each))));
    return stored$.pipe(concatMap(async (stored) => this.checkAll(stored, schema)));
  }

  /** What became of each task, in order. A result that cannot be read is an outcome too, as one bad result must not end a stream of many. */
  outcomes$<T>(stored$: Observable<StoredResult>, schema: ResultSchema<T> | undefined): Observable<TaskOutcome<T>> {
    if (schema === undefined) return stored$.pipe(map((stored) => this.#outcome<T>(stored)));
    return stored$.pipe(
      concatMap(async (stored) =>
        this.check(stored, schema).then(
          (value): TaskOutcome<T> => ({ taskId: stored.taskId, status: "fulfilled", value }),
          (error: unknown) => toRejected(stored.taskId, error),
        ),
      ),
    );
  }

  /** The value of a result, there or still to come, as a schema gives it. */
  async check<T>(
    stored: StoredResult | Promise<StoredResult>,
    schema: ResultSchema<T>,
    limits?: CheckLimits,
  ): Promise<T> {
    return this.#track(stored, async (there) => this.#validate(there, schema), limits);
  }

  /** The same, where a task that failed is a value. */
  async checkSettled<T>(
    stored: StoredResult | Promise<StoredResult>,
    schema: ResultSchema<T>,
    limits?: CheckLimits,
  ): Promise<PromiseSettledResult<T>> {
    return this.check(stored, schema, limits).then(
      (value) => ({ status: "fulfilled", value }),
      (reason: unknown) => {
        if (!isTaskFailed(reason)) throw reason;
        return { status: "rejected", reason };
      },
    );
  }

  /** The same for the results of a group, each checked by itself. */
  async checkAll<T>(
    stored: readonly StoredResult[] | Promise<readonly StoredResult[]>,
    schema: ResultSchema<T>,
    limits?: CheckLimits,
  ): Promise<T[]> {
    const validateAll = async (there: readonly StoredResult[]): Promise<T[]> =>
      Promise.all(there.map(async (each) => this.#validate(each, schema)));
    return this.#track(stored, validateAll, limits);
  }

  /** Resolves once every check has ended. */
  async drain(): Promise<void> {
    await Promise.allSettled(this.#checks);
  }

  async #validate<T>(stored: StoredResult, schema: ResultSchema<T>): Promise<T> {
    return decodeResult(stored, this.#codec, schema);
  }

  #outcome<T>(stored: StoredResult): TaskOutcome<T> {
    try {
      return { taskId: stored.taskId, ...this.settled<T>(stored) };
    } catch (error) {
      return toRejected(stored.taskId, error);
    }
  }

  /** Known from the call on, and not from when the result is there: whoever drains would miss it in between. */
  async #track<S, T>(source: S | Promise<S>, check: (source: S) => Promise<T>, limits?: CheckLimits): Promise<T> {
    const checking = this.#check(source, check, limits);
    this.#checks.add(checking);
    return checking.finally(() => this.#checks.delete(checking));
  }

  async #check<S, T>(source: S | Promise<S>, check: (source: S) => Promise<T>, limits?: CheckLimits): Promise<T> {
    const deadline = this.#deadlines.now() + (limits?.timeoutMs ?? Infinity);
    // Also where it is there already: a stream is served from within the parts that others share.
    const there = await source;
    throwIfAborted(limits?.signal);
    // What is left of the time, and as long as a last read. Never Infinity: what is not among the deadlines would outlive `close`.
    const leftMs = Math.min(Math.max(deadline - this.#deadlines.now(), lastReadMs), maxDurationMs);
    const call = new Call<T>(this.#deadlines, leftMs, () => lateError(limits));
    const abortable = { error: (reason: unknown): void => call.reject(reason) };
    if (limits?.signal !== undefined) this.#aborts.add(limits.signal, abortable);
    check(there).then(
      (value) => call.resolve(value),
      (error: unknown) => call.reject(error),
    );
    return call.promise.finally(() => {
      if (limits?.signal !== undefined) this.#aborts.remove(limits.signal, abortable);
    });
  }
}

function toRejected(taskId: string, error: unknown): TaskOutcome<never> {
  if (isTaskFailed(error) || error instanceof ResultValidationError || error instanceof ResultEncodingError)
    return { taskId, status: "rejected", reason: error };
  throw error;
}

/** For a check without a limit, which ends by `close` alone: its deadline is too far away to come. */
const noLimits: CheckLimits = { target: { taskId: "" }, timeoutMs: Infinity };

function lateError({ target, timeoutMs }: CheckLimits = noLimits): WaitTimeoutError {
  const subject = "taskId" in target ? `Task ${target.taskId}` : `Group ${target.groupId}`;
  const message = `${subject} is done, but its schema had not checked the result within ${timeoutMs} ms.`;
  return new WaitTimeoutError(target, timeoutMs, { message });
}
