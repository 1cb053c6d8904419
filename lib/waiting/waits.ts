import { firstValueFrom, Observable, type Subscriber, throwError, type Unsubscribable } from "rxjs";
import { toTaskWaitOptions } from "../call-options";
import type { CallSite } from "./call-site";
import { type Deadline, type Deadlines, reasonOf } from "./deadlines";
import type { WaitTimeoutError } from "../errors";
import type { TaskWaitOptions, WaitOptions } from "../result-backend";
import type { Loader } from "./loader";
import type { Router, WakeCause, Watcher } from "./router";
import type { Sweep } from "./sweep";

/** Longest time for the last read at the deadline, which finds results whose notification was lost. */
export const lastReadMs = 1_000;

/** Source of the values that are awaited. */
export interface WaitSource<T> {
  readonly router: Router<T>;
  readonly loader: Pick<Loader<T>, "request" | "load" | "lastError">;
  readonly sweep: Pick<Sweep, "enter" | "leave">;
  readonly deadlines: Deadlines;
  /** Counts waits by what brought their answer. */
  countWake(cause: WakeCause): void;
  /** Tells whether a value ends a wait. Others are only emitted. */
  isAnswer(value: T): boolean;
  /** Creates the error of a wait that has timed out. `latest` is the latest value. */
  timeoutError(key: string, timeoutMs: number, latest: T | undefined, options?: ErrorOptions): WaitTimeoutError;
}

/** Limits of a wait. By default it has none. */
export interface WaitLimits extends Partial<WaitOptions> {
  /** Limit of the call that this wait is a part of, for the error. Default: `timeoutMs`. */
  readonly callTimeoutMs?: number;
  /** Stack of that call, for the error. Default: the current one, if stacks are captured. */
  readonly site?: CallSite | undefined;
}

/**
 * Calls `wait` with checked options, and rejects with what it throws. Not an async function: its frame and promise
 * would add 320 bytes to each open wait.
 */
export function withWaitOptions<T, Result>(
  timeout: number | TaskWaitOptions<T>,
  wait: (options: TaskWaitOptions<T>) => Promise<Result>,
): Promise<Result> {
  try {
    return wait(toTaskWaitOptions(timeout));
  } catch (error) {
    return firstValueFrom(throwError(() => error));
  }
}

/**
 * Emits the value of a key, such as a result or a group, now and at every change, and completes with the answer. Errors
 * when it times out, its signal aborts or the router is closed. The timeout counts from the subscription.
 */
export function watch$<T>(source: WaitSource<T>, key: string, limits: WaitLimits = {}): Observable<T> {
  return new Observable((subscriber) => {
    const { signal } = limits;
    if (source.router.closedBy !== undefined) subscriber.error(source.router.closedBy);
    else if (signal?.aborted === true) subscriber.error(reasonOf(signal));
    else return new Wait(source, key, withSite(source.deadlines, limits), subscriber);
    return undefined;
  });
}

/** Adds the stack of the call to the limits of a wait that may time out. As a field, it would make each wait larger. */
function withSite(deadlines: Deadlines, limits: WaitLimits): WaitLimits {
  const site = limits.site === undefined && limits.timeoutMs !== undefined ? deadlines.callSite() : undefined;
  return site === undefined ? limits : { ...limits, site };
}

/**
 * One subscription. It is the watcher in the router, the deadline and the teardown in a single object, since 100 000
 * may be open. RxJS calls `unsubscribe` once, however the subscription ends.
 */
class Wait<T> implements Watcher<T>, Deadline, Unsubscribable {
  heapIndex = -1;
  dueAt: number;
  readonly beganAt: number;
  readonly key: string;
  readonly #source: WaitSource<T>;
  readonly #limits: WaitLimits;
  readonly #subscriber: Subscriber<T>;
  #isLastRead = false;
  #latest: T | undefined;

  constructor(source: WaitSource<T>, key: string, limits: WaitLimits, subscriber: Subscriber<T>) {
    const { router, sweep, loader, deadlines } = source;
    this.key = key;
    this.#source = source;
    this.#limits = limits;
    this.#subscriber = subscriber;
    this.beganAt = deadlines.now();
    this.dueAt = this.beganAt + (this.#isSingleRead ? lastReadMs : this.#timeoutMs);
    // Added to the router before the read: notifications announce what is stored from now on, and the read finds the
    // rest.
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
    const isLast = this.#source.isAnswer(value);
    if (isLast) this.#source.countWake(cause);
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
      this.#giveUp(this.#source.loader.lastError);
      return;
    }
    this.dueAt = this.#source.deadlines.now() + lastReadMs;
    this.#source.deadlines.add(this);
    this.#readOnceMore("deadline");
  }

  unsubscribe(): void {
    const { router, sweep, deadlines } = this.#source;
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

  /** The router delivers the value if it is there. */
  #readOnceMore(cause: WakeCause): void {
    this.#isLastRead = true;
    this.#source.loader.load(this.key, cause).then(
      () => this.#giveUp(),
      (error: unknown) => this.#giveUp(error),
    );
  }

  #giveUp(cause?: unknown): void {
    if (this.#subscriber.closed) return;
    const options = cause === undefined ? undefined : { cause };
    const { callTimeoutMs = this.#timeoutMs, site } = this.#limits;
    const error = this.#source.timeoutError(this.key, callTimeoutMs, this.#latest, options);
    this.error(site?.show(error) ?? error);
  }
}
