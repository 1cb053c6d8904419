import { Observable } from "rxjs";
import type { Deadline, Deadlines } from "./deadlines";
import { BackendClosedError, type WaitTimeoutError } from "../errors";
import type { ReadOptions, WaitOptions } from "../result-backend";
import { checkDurationMs } from "../value/arguments";
import { checkSchema } from "../value/schema";
import type { Aborts } from "./aborts";
import type { Loader } from "./loader";
import type { Router, WakeCause, Watcher } from "./router";
import { checkSignal, throwIfAborted } from "./signals";
import type { Sweep } from "./sweep";

/** How long the last read at the deadline may take. Without it a result that came in time would be missed; without a limit a dead database would hold the caller. */
export const lastReadMs = 1_000;

export interface WaitParts<T> {
  readonly router: Router<T>;
  readonly loader: Loader<T>;
  readonly sweep: Sweep;
  readonly deadlines: Deadlines;
  readonly aborts: Aborts;
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

/** Limits of a wait that may be one of several which share the time of a call. */
export interface WaitLimits extends WaitOptions {
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

/** Waits for results, or for groups: the only place where watching, reading, deadlines and abort meet. */
export class Waits<T> {
  readonly #parts: WaitParts<T>;
  #isClosed = false;

  constructor(parts: WaitParts<T>) {
    this.#parts = parts;
  }

  /** Throws, rather than rejects, what keeps it from beginning: an async function would cost each open wait a promise and a frame. */
  wait(key: string, options: WaitLimits): Promise<T> {
    if (this.#isClosed) throw new BackendClosedError();
    throwIfAborted(options.signal);
    return new Promise((resolve, reject) => new Wait(this.#parts, key, options, resolve, reject).start());
  }

  /** What is stored under a key, now and at every change, as a cold stream with no deadline. Completes with the answer. */
  watch(key: string): Observable<T> {
    return new Observable((subscriber) => {
      if (this.#isClosed) {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      const { router, sweep, loader, deadlines, countWake, isAnswer } = this.#parts;
      const watcher: Watcher<T> = {
        key,
        beganAt: deadlines.now(),
        next: (value, cause) => {
          const isLast = isAnswer(value);
          if (isLast) countWake(cause);
          subscriber.next(value);
          if (isLast) subscriber.complete();
        },
        error: (error) => subscriber.error(error),
      };
      router.add(watcher);
      sweep.enter();
      loader.request(key, "read");
      return () => {
        router.remove(watcher);
        sweep.leave();
      };
    });
  }

  /** From here on nobody can begin to wait. */
  close(): void {
    this.#isClosed = true;
  }
}

/** One wait: a watcher in the router and a place among the deadlines, and one promise that they settle. */
class Wait<T> implements Watcher<T>, Deadline {
  heapIndex = -1;
  dueAt: number;
  readonly beganAt: number;
  readonly key: string;
  readonly #parts: WaitParts<T>;
  readonly #options: WaitLimits;
  readonly #resolve: (value: T) => void;
  readonly #reject: (reason: unknown) => void;
  #isLastRead = false;
  #hasEnded = false;
  #latest: T | undefined;

  constructor(
    parts: WaitParts<T>,
    key: string,
    options: WaitLimits,
    resolve: (value: T) => void,
    reject: (reason: unknown) => void,
  ) {
    this.key = key;
    this.#parts = parts;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.beganAt = parts.deadlines.now();
    this.dueAt = this.beganAt + (options.timeoutMs === 0 ? lastReadMs : options.timeoutMs);
  }

  start(): void {
    const { router, sweep, loader, deadlines } = this.#parts;
    const { signal, timeoutMs } = this.#options;
    if (signal !== undefined) this.#parts.aborts.add(signal, this);
    // In the router before the read: what is stored from here on is heard of, what was stored before is read.
    router.add(this);
    deadlines.add(this);
    // A single read needs no listener, and no sweep.
    if (timeoutMs === 0) this.#readOnceMore("read");
    else {
      sweep.enter();
      loader.request(this.key, "read");
    }
  }

  next(value: T, cause: WakeCause): void {
    if (!this.#parts.isAnswer(value)) {
      this.#latest = value;
      return;
    }
    this.#parts.countWake(cause);
    this.#end();
    this.#resolve(value);
  }

  error(error: unknown): void {
    this.#end();
    this.#reject(error);
  }

  expire(reason?: Error): void {
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

  /** Still in the router meanwhile: if the result is there, it comes from there. */
  #readOnceMore(cause: WakeCause): void {
    this.#isLastRead = true;
    this.#parts.loader.load(this.key, cause).then(
      () => this.#giveUp(),
      (error: unknown) => this.#giveUp(error),
    );
  }

  #giveUp(cause?: unknown): void {
    const options = cause === undefined ? undefined : { cause };
    const { timeoutMs, callTimeoutMs = timeoutMs } = this.#options;
    this.error(this.#parts.timeoutError(this.key, callTimeoutMs, this.#latest, options));
  }

  /** Leaves everything it is in. A second time, after the last read of a wait that has ended, it does nothing. */
  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { router, sweep, deadlines, aborts } = this.#parts;
    router.remove(this);
    if (this.#options.timeoutMs > 0) sweep.leave();
    deadlines.remove(this);
    if (this.#options.signal !== undefined) aborts.remove(this.#options.signal, this);
  }
}
