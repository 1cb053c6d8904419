import { longestTimerMs } from "../value/arguments";

/** Something that ends at a time. `heapIndex` belongs to {@link Deadlines}; start it at -1. */
export interface Deadline {
  /** On the clock of its {@link Deadlines}. `Infinity` is never due. */
  readonly dueAt: number;
  heapIndex: number;
  /** Called once: when due, or with the reason if everything ends early. Must not throw. */
  expire(reason?: Error): void;
}

/**
 * Every deadline of a backend behind one timer: a binary heap in which each entry knows its place, so that one that is no longer
 * needed leaves at once. A timer each would cost 100 000 waits a timer object each, and leaving dead entries would keep finished waits alive.
 */
export class Deadlines {
  readonly #heap: Deadline[] = [];
  #timer: NodeJS.Timeout | undefined;
  #timerDueAt = Infinity;
  /** When the timer is to fire, which is earlier where it was cut to the longest one. */
  #firesAt = -Infinity;
  /** The time, in milliseconds. Looked up at each call, so that fake timers may replace it later. */
  readonly now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.now = now;
  }

  get size(): number {
    return this.#heap.length;
  }

  add(entry: Deadline): void {
    if (entry.dueAt === Infinity) return;
    this.#place(entry, this.#heap.length);
    this.#siftUp(entry);
    this.#arm();
  }

  /** Forgets an entry; one that is not here is ignored. */
  remove(entry: Deadline): void {
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

  /** Ends all of them now. */
  expireAll(reason: Error): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      this.remove(first);
      first.expire(reason);
    }
  }

  #arm(): void {
    const first = this.#heap[0];
    if (first === undefined || first.dueAt >= this.#timerDueAt) return;
    this.#disarm();
    this.#timerDueAt = first.dueAt;
    // Rounded up: a timer that fires a fraction early would only be armed again.
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
    // A timer that has fired is the truth, even if the clock stands still or has been set back, as when only timers are replaced in a test.
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
