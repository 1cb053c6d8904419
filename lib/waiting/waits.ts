import { firstValueFrom, Observable, type Subscriber, throwError, type Unsubscribable } from "rxjs";
import type { Deadline, Deadlines } from "./deadlines";
import { BackendClosedError, type WaitTimeoutError } from "../errors";
import type { ReadOptions, WaitOptions } from "../result-backend";
import { checkDurationMs } from "../value/arguments";
import { checkSchema } from "../value/schema";
import type { Loader } from "./loader";
import type { Router, WakeCause, Watcher } from "./router";
import { checkSignal, reasonOf } from "./signals";
import type { Sweep } from "./sweep";

/** How long the last read at the deadline may take. Without it a result that came in time would be missed; without a limit a dead database would hold the caller. */
export const lastReadMs = 1_000;

export interface WaitParts<T> {
  readonly router: Router<T>;
  readonly loader: Pick<Loader<T>, "request" | "load" | "lastError">;
  readonly sweep: Pick<Sweep, "enter" | "leave">;
  readonly deadlines: Deadlines;
  /** Counts how each waiter was woken. */
  readonly countWake: (cause: WakeCause) => void;
  /** Whether a value is what is waited for; any other is only news. */
  readonly isAnswer: (value: T) => boolean;
  /** The error of a wait whose time is up; `latest` is the news it has had. */
  readonly timeoutError: (
    key: string,
    timeoutMs: number,
    latest: T | undefined,
    options?: ErrorOptions,
  ) => WaitTimeoutError;
}

/** Limits of a wait. By default it has none; it may be one of several which share the time of a call. */
export interface WaitLimits extends Partial<WaitOptions> {
  /** Limit of the call, for the error. Default: `timeoutMs`. */
  readonly callTimeoutMs?: number;
}

/** Checks what was given to `wait`. */
export function resolveWaitOptions<T>(timeout: number | (WaitOptions & ReadOptions<T>)): WaitOptions & ReadOptions<T> {
  const options: WaitOptions & ReadOptions<T> = isWaitOptions(timeout) ? timeout : { timeoutMs: timeout };
  checkDurationMs(options.timeoutMs, "timeoutMs", { infinite: true });
  checkSignal(options.signal);
  checkSchema(options.schema);
  return options;
}

const isWaitOptions = <T>(timeout: number | T): timeout is T => typeof timeout === "object" && timeout !== null;

/**
 * Calls `wait` with checked options, and rejects with what it throws. Not an async function: the frame and the promise of one would add 320 bytes to each
 * open wait.
 */
export function withWaitOptions<T, Result>(
  timeout: number | (WaitOptions & ReadOptions<T>),
  wait: (options: WaitOptions & ReadOptions<T>) => Promise<Result>,
): Promise<Result> {
  try {
    return wait(resolveWaitOptions(timeout));
  } catch (error) {
    return firstValueFrom(throwError(() => error));
  }
}

/** Waits for values under keys, such as results or groups. */
export class Waits<T> {
  readonly #parts: WaitParts<T>;
  #isClosed = false;

  constructor(parts: WaitParts<T>) {
    this.#parts = parts;
  }

  /**
   * Emits what is stored under a key, now and at every change, and completes with the answer. Errors when its time is up or its signal aborts. Each
   * subscription waits by itself, and its time begins with it.
   */
  watch$(key: string, limits: WaitLimits = {}): Observable<T> {
    return new Observable((subscriber) => {
      const { signal } = limits;
      if (this.#isClosed) subscriber.error(new BackendClosedError());
      else if (signal?.aborted === true) subscriber.error(reasonOf(signal));
      else return new Wait(this.#parts, key, limits, subscriber);
      return undefined;
    });
  }

  /** Refuses waits from here on. */
  close(): void {
    this.#isClosed = true;
  }
}

/**
 * One subscription: the watcher in the router, the entry among the deadlines and the teardown in one object, as 100 000 may be open. RxJS calls `unsubscribe`
 * once, however the subscription ends.
 */
class Wait<T> implements Watcher<T>, Deadline, Unsubscribable {
  heapIndex = -1;
  dueAt: number;
  readonly beganAt: number;
  readonly key: string;
  readonly #parts: WaitParts<T>;
  readonly #limits: WaitLimits;
  readonly #subscriber: Subscriber<T>;
  #isLastRead = false;
  #latest: T | undefined;

  constructor(parts: WaitParts<T>, key: string, limits: WaitLimits, subscriber: Subscriber<T>) {
    const { router, sweep, loader, deadlines } = parts;
    this.key = key;
    this.#parts = parts;
    this.#limits = limits;
    this.#subscriber = subscriber;
    this.beganAt = deadlines.now();
    this.dueAt = this.beganAt + (this.#isSingleRead ? lastReadMs : this.#timeoutMs);
    // In the router before the read: what is stored from here on is announced, what was stored before is read.
    router.add(this);
    deadlines.add(this);
    // A single read needs no listener, and no sweep.
    if (this.#isSingleRead) this.#readOnceMore("read");
    else {
      sweep.enter();
      loader.request(key, "read");
    }
  }

  get signal(): AbortSignal | undefined {
    return this.#limits.signal;
  }

  next(value: T, cause: WakeCause): void {
    const { isAnswer, countWake } = this.#parts;
    const isLast = isAnswer(value);
    if (isLast) countWake(cause);
    else this.#latest = value;
    this.#subscriber.next(value);
    if (isLast) this.#subscriber.complete();
  }

  error(error: unknown): void {
    this.#subscriber.error(error);
  }

  expire(reason?: unknown): void {
    if (reason !== undefined) {
      this.error(reason);
      return;
    }
    if (this.#isLastRead) {
      this.#giveUp(this.#parts.loader.lastError);
      return;
    }
    this.dueAt = this.#parts.deadlines.now() + lastReadMs;
    this.#parts.deadlines.add(this);
    this.#readOnceMore("deadline");
  }

  unsubscribe(): void {
    const { router, sweep, deadlines } = this.#parts;
    router.remove(this);
    if (!this.#isSingleRead) sweep.leave();
    deadlines.remove(this);
  }

  get #timeoutMs(): number {
    return this.#limits.timeoutMs ?? Infinity;
  }

  get #isSingleRead(): boolean {
    return this.#timeoutMs === 0;
  }

  /** The router still has this wait meanwhile, and delivers the value if it is there. */
  #readOnceMore(cause: WakeCause): void {
    this.#isLastRead = true;
    this.#parts.loader.load(this.key, cause).then(
      () => this.#giveUp(),
      (error: unknown) => this.#giveUp(error),
    );
  }

  #giveUp(cause?: unknown): void {
    if (this.#subscriber.closed) return;
    const options = cause === undefined ? undefined : { cause };
    const { callTimeoutMs = this.#timeoutMs } = this.#limits;
    this.error(this.#parts.timeoutError(this.key, callTimeoutMs, this.#latest, options));
  }
}
