import { longestTimerMs } from "../value/arguments";
import { CallSite } from "./call-site";

/**
 * Something that ends at a time, or when its signal aborts. `heapIndex` belongs to {@link Deadlines} and starts at -1.
 */
export interface Deadline {
  /** On the clock of its {@link Deadlines}. `Infinity` is never due. */
  readonly dueAt: number;
  readonly signal?: AbortSignal | undefined;
  heapIndex: number;
  /** Called once: when due, or with a reason when the signal aborts or everything ends early. Must not throw. */
  expire(reason?: unknown): void;
}

interface Listener {
  readonly entries: Set<Deadline>;
  readonly onAbort: () => void;
}

/**
 * Every deadline of a backend behind one timer, and one listener on each signal.
 *
 * The binary heap stores each entry's index, so that a finished wait leaves at once instead of staying in memory until
 * it is due. A timer for each of 100 000 waits would cost a timer object each. One signal may end hundreds of waits,
 * and Node warns of a leak at its eleventh listener.
 */
export class Deadlines {
  readonly #heap: Deadline[] = [];
  readonly #listeners = new Map<AbortSignal, Listener>();
  #ended: Error | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerDueAt = Infinity;
  /** Time at which the timer fires, which is earlier than the next deadline if that is beyond the longest timer. */
  #firesAt = -Infinity;
  /**
   * Returns the time in milliseconds. The clock is looked up at each call, so that fake timers can replace it later.
   */
  readonly now: () => number;

  readonly #capturesStacks: boolean;

  /** @param capturesStacks - Errors of deadlines have the stack of their call. */
  constructor(now: () => number = () => performance.now(), capturesStacks = false) {
    this.now = now;
    this.#capturesStacks = capturesStacks;
  }

  /** Captures the stack of the running call, if that is asked for. */
  callSite(): CallSite | undefined {
    return this.#capturesStacks ? new CallSite() : undefined;
  }

  get size(): number {
    return this.#heap.length;
  }

  add(entry: Deadline): void {
    if (entry.signal !== undefined) this.#listen(entry.signal, entry);
    if (entry.dueAt === Infinity) return;
    this.#place(entry, this.#heap.length);
    this.#siftUp(entry);
    const reason = this.#ended;
    if (reason === undefined) this.#arm();
    // Later, since the entry may still be under construction. Not by queueMicrotask, which fake timers replace.
    else void Promise.resolve().then(() => this.end(reason));
  }

  /** Forgets an entry; ignores one that was never added. */
  remove(entry: Deadline): void {
    if (entry.signal !== undefined) this.#unlisten(entry.signal, entry);
    const index = entry.heapIndex;
    if (index < 0) return;
    entry.heapIndex = -1;
    const last = this.#heap.pop();
    if (last !== undefined && last !== entry) {
      this.#place(last, index);
      this.#siftDown(last);
      this.#siftUp(last);
    }
    if (this.#heap.length === 0) this.#disarm();
  }

  /** Ends every entry with a finite time now, and each one that is added later. */
  end(reason: Error): void {
    this.#ended = reason;
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      this.remove(first);
      first.expire(reason);
    }
  }

  #listen(signal: AbortSignal, entry: Deadline): void {
    const present = this.#listeners.get(signal);
    if (present !== undefined) {
      present.entries.add(entry);
      return;
    }
    const entries = new Set([entry]);
    const onAbort = (): void => {
      for (const each of [...entries]) {
        this.remove(each);
        each.expire(reasonOf(signal));
      }
    };
    this.#listeners.set(signal, { entries, onAbort });
    signal.addEventListener("abort", onAbort);
  }

  #unlisten(signal: AbortSignal, entry: Deadline): void {
    const listener = this.#listeners.get(signal);
    if (listener === undefined || !listener.entries.delete(entry) || listener.entries.size > 0) return;
    this.#listeners.delete(signal);
    signal.removeEventListener("abort", listener.onAbort);
  }

  #arm(): void {
    const first = this.#heap[0];
    if (first === undefined || first.dueAt >= this.#timerDueAt) return;
    this.#disarm();
    this.#timerDueAt = first.dueAt;
    // Rounded up, since a timer that fires slightly early would have to be armed again.
    const now = this.now();
    const delayMs = Math.min(Math.max(Math.ceil(first.dueAt - now), 0), longestTimerMs);
    this.#firesAt = now + delayMs;
    this.#timer = setTimeout(() => this.#expireDue(), delayMs);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerDueAt = Infinity;
  }

  #expireDue(): void {
    this.#disarm();
    // The timer has fired, so its time has come even if the clock stands still or was set back, as when a test
    // replaces timers only.
    const now = Math.max(this.now(), this.#firesAt);
    for (let first = this.#heap[0]; first !== undefined && first.dueAt <= now; first = this.#heap[0]) {
      this.remove(first);
      first.expire();
    }
    this.#arm();
  }

  #place(entry: Deadline, index: number): void {
    this.#heap[index] = entry;
    entry.heapIndex = index;
  }

  #siftUp(entry: Deadline): void {
    let index = entry.heapIndex;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#heap[parentIndex];
      if (parent === undefined || parent.dueAt <= entry.dueAt) break;
      this.#place(parent, index);
      index = parentIndex;
    }
    this.#place(entry, index);
  }

  #siftDown(entry: Deadline): void {
    let index = entry.heapIndex;
    for (;;) {
      const left = this.#heap[2 * index + 1];
      const right = this.#heap[2 * index + 2];
      const child = right !== undefined && left !== undefined && right.dueAt < left.dueAt ? right : left;
      if (child === undefined || child.dueAt >= entry.dueAt) break;
      const childIndex = child.heapIndex;
      this.#place(child, index);
      index = childIndex;
    }
    this.#place(entry, index);
  }
}

/** A promise with its own deadline, so that the caller gets an answer in time whatever happens to the database. */
export class Call<T> implements Deadline {
  readonly promise: Promise<T>;
  readonly dueAt: number;
  readonly signal: AbortSignal | undefined;
  heapIndex = -1;
  readonly #deadlines: Deadlines;
  readonly #late: () => Error;
  readonly #site: CallSite | undefined;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;
  #isSettled = false;

  /** `late` creates the error of a call that is not settled within `timeoutMs`. */
  constructor(deadlines: Deadlines, timeoutMs: number, late: () => Error, signal?: AbortSignal) {
    this.#deadlines = deadlines;
    this.#late = late;
    this.#site = deadlines.callSite();
    this.signal = signal;
    this.dueAt = deadlines.now() + timeoutMs;
    this.promise = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    deadlines.add(this);
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  resolve(value: T): void {
    this.#isSettled = true;
    this.#deadlines.remove(this);
    this.#resolve(value);
  }

  reject(error: unknown): void {
    this.#isSettled = true;
    this.#deadlines.remove(this);
    this.#reject(error);
  }

  expire(reason?: unknown): void {
    this.#isSettled = true;
    // A signal may have the reason null.
    this.#reject(reason === undefined ? this.#lateError() : reason);
  }

  /** The error of a call that is not settled in time. */
  protected late(): Error {
    return this.#late();
  }

  #lateError(): Error {
    const error = this.late();
    return this.#site?.show(error) ?? error;
  }
}

/** Returns the reason of an aborted signal. Polyfills have none; the standard's default takes its place. */
export const reasonOf = (signal: AbortSignal): unknown =>
  signal.reason === undefined ? new DOMException("This operation was aborted", "AbortError") : signal.reason;

/** Works like `signal.throwIfAborted()`, which polyfills lack. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw reasonOf(signal);
}
