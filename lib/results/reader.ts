import { map, type Observable } from "rxjs";
import { isTaskFailed, ResultEncodingError, ResultValidationError, type WaitTarget, WaitTimeoutError } from "../errors";
import { decodeChunk, type StoredChunk } from "../chunks/chunk-rules";
import type { Chunk, TaskOutcome } from "../result-backend";
import { maxDurationMs } from "../value/arguments";
import {
  asJsonText,
  type Awaitable,
  convertInOrder,
  decodeResult,
  type ResultSchema,
  type StoredResult,
} from "../value/decoding";
import type { Codec } from "../value/encoding";
import { hasTaskSchemas, schemaFor } from "../value/task";
import { Call, type Deadlines, throwIfAborted } from "../waiting/deadlines";
import { lastReadMs } from "../waiting/waits";

/** Limits of the call to which a validation belongs. */
interface ReadLimits {
  /** Task or group of the wait, for the error. */
  readonly target: WaitTarget;
  /** Counted from the call, including the wait for the result. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

type Schema<T> = ResultSchema<T> | undefined;

/**
 * Converts stored results to what callers receive. A schema is the caller's code, which may be slow, throw or never
 * answer. It therefore runs outside the shared parts, with the limits of its caller. Without a schema a result is
 * decoded at once.
 */
export class Reader {
  readonly #codec: Codec | undefined;
  readonly #deadlines: Deadlines;
  readonly #validations = new Set<Promise<unknown>>();

  constructor(deadlines: Deadlines, codec: Codec | undefined) {
    this.#deadlines = deadlines;
    this.#codec = codec;
  }

  /** Resolves with the value of a result, stored or awaited; rejects with the `TaskFailedError` of a failure. */
  value<T>(source: Awaitable<StoredResult>, schema: Schema<T>, limits?: ReadLimits): Promise<T> {
    return this.#read(source, (stored) => this.#decode(stored, schema), schema !== undefined, limits);
  }

  /** Like `value`, but a failed task is a value. */
  settled<T>(
    source: Awaitable<StoredResult>,
    schema: Schema<T>,
    limits?: ReadLimits,
  ): Promise<PromiseSettledResult<T>> {
    return this.value(source, schema, limits).then(toFulfilled, (error: unknown) => toRejected(error, isTaskFailed));
  }

  /** Like `value`, for the results of a group. */
  values<T>(source: Awaitable<readonly StoredResult[]>, schema: Schema<T>, limits?: ReadLimits): Promise<T[]> {
    const mayBeAsync = schema !== undefined || hasTaskSchemas();
    return this.#read(source, (stored) => this.#decodeAll(stored, schema), mayBeAsync, limits);
  }

  /** Emits values in order; errors with the first failure. */
  value$<T>(stored$: Observable<StoredResult>, schema: Schema<T>): Observable<T> {
    const decode = (stored: StoredResult): Awaitable<T> => this.#decode(stored, schema);
    if (schema === undefined) return stored$.pipe(map((stored) => decode(stored) as T));
    return this.#emit(stored$, decode, () => true);
  }

  /** Like `value$`, for the results of groups. */
  values$<T>(stored$: Observable<readonly StoredResult[]>, schema: Schema<T>): Observable<T[]> {
    const isAsync = (stored: readonly StoredResult[]): boolean => stored.some((each) => isValidated(each, schema));
    return this.#emit(stored$, (stored) => this.#decodeAll(stored, schema), isAsync);
  }

  /** Emits outcomes in order. An unreadable result is an outcome too, so that it does not end a stream of many. */
  outcome$<T>(stored$: Observable<StoredResult>, schema: Schema<T>): Observable<TaskOutcome<T>> {
    const isAsync = (stored: StoredResult): boolean => isValidated(stored, schema);
    return this.#emit(stored$, (stored) => this.#outcome(stored, schema), isAsync);
  }

  /** Converts a chunk; at once without a schema. */
  chunk<T>(taskId: string, stored: StoredChunk, schema: Schema<T>): Awaitable<Chunk<T>> {
    const decode = (): Awaitable<Chunk<T>> => decodeChunk(taskId, stored, this.#codec, schema);
    // asJsonText always answers, so it needs no limit.
    const isOwn = schema === undefined || (schema as unknown) === asJsonText;
    return isOwn ? decode() : this.#read(stored, decode, true);
  }

  /** Resolves once every validation has ended. */
  async drain(): Promise<void> {
    await Promise.allSettled(this.#validations);
  }

  #decode<T>(stored: StoredResult, schema: Schema<T>): Awaitable<T> {
    return decodeResult(stored, this.#codec, schema);
  }

  #decodeAll<T>(stored: readonly StoredResult[], schema: Schema<T>): Awaitable<T[]> {
    const decode = (each: StoredResult): Awaitable<T> => this.#decode(each, schemaFor(each.taskId, schema));
    if (!stored.some((each) => isValidated(each, schema))) return stored.map(decode) as T[];
    // Async functions: one that throws at once must not leave the promises of others without a handler.
    return Promise.all(stored.map(async (each) => decode(each)));
  }

  #outcome<T>(stored: StoredResult, schema: Schema<T>): Awaitable<TaskOutcome<T>> {
    const { taskId } = stored;
    const onValue = (value: T): TaskOutcome<T> => ({ taskId, ...toFulfilled(value) });
    const onError = (error: unknown): TaskOutcome<T> => ({ taskId, ...toRejected(error, isAboutResult) });
    try {
      const value = this.#decode(stored, schemaFor(taskId, schema));
      return value instanceof Promise ? value.then(onValue, onError) : onValue(value);
    } catch (error) {
      return onError(error);
    }
  }

  /** Maps in order: at once without a schema, else one validation after the other. */
  #emit<S, T>(
    stored$: Observable<S>,
    decode: (stored: S) => Awaitable<T>,
    isAsync: (stored: S) => boolean,
  ): Observable<T> {
    return stored$.pipe(
      convertInOrder((stored) => (isAsync(stored) ? this.#read(stored, decode, true) : decode(stored))),
    );
  }

  // Not async: an open wait without a schema holds one promise of this and no frame.
  #read<S, T>(
    source: Awaitable<S>,
    decode: (stored: S) => Awaitable<T>,
    isAsync: boolean,
    limits: ReadLimits = noLimits,
  ): Promise<T> {
    if (!isAsync) return Promise.resolve(source).then(decode);
    // Added when the call is made and not when the result arrives; otherwise `drain` could miss it.
    const validation = this.#validate(source, decode, limits);
    this.#validations.add(validation);
    return validation.finally(() => this.#validations.delete(validation));
  }

  async #validate<S, T>(
    source: Awaitable<S>,
    decode: (stored: S) => Awaitable<T>,
    { target, timeoutMs, signal }: ReadLimits,
  ): Promise<T> {
    const deadline = this.#deadlines.now() + timeoutMs;
    // Asynchronously even if the result is available, since a stream is served from within the shared parts.
    const stored = await source;
    throwIfAborted(signal);
    // The remaining time, but at least that of a last read. Never Infinity, since `close` only ends what has a
    // deadline.
    const leftMs = Math.min(Math.max(deadline - this.#deadlines.now(), lastReadMs), maxDurationMs);
    const call = new Call<T>(this.#deadlines, leftMs, () => lateError(target, timeoutMs), signal);
    Promise.resolve(stored)
      .then(decode)
      .then(
        (value) => call.resolve(value),
        (error: unknown) => call.reject(error),
      );
    return call.promise;
  }
}

/** Tells whether a result is validated: by the schema of the read, or by that of its task. */
const isValidated = ({ taskId }: StoredResult, schema: Schema<unknown>): boolean =>
  schemaFor(taskId, schema) !== undefined;

function toFulfilled<T>(value: T): PromiseFulfilledResult<T> {
  return { status: "fulfilled", value };
}

/** Returns an error as an outcome if `isOutcome` accepts it, and throws it otherwise. */
function toRejected(error: unknown, isOutcome: (error: unknown) => boolean): PromiseRejectedResult {
  if (!isOutcome(error)) throw error;
  return { status: "rejected", reason: error };
}

const isAboutResult = (error: unknown): boolean =>
  isTaskFailed(error) || error instanceof ResultValidationError || error instanceof ResultEncodingError;

/** A deadline far in the future, so that only `close` ends the validation. */
const noLimits: ReadLimits = { target: { taskId: "" }, timeoutMs: Infinity };

function lateError(target: WaitTarget, timeoutMs: number): WaitTimeoutError {
  const subject = "taskId" in target ? `Task ${target.taskId}` : `Group ${target.groupId}`;
  const message = `${subject} is done, but its schema did not validate the result within ${timeoutMs} ms.`;
  return new WaitTimeoutError(target, timeoutMs, { message });
}
