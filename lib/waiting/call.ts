import type { Deadline, Deadlines } from "./deadlines";

/** A promise that somebody else settles, or its own deadline: whatever happens to the database, the caller hears in time. */
export class Call<T> implements Deadline {
  readonly promise: Promise<T>;
  readonly dueAt: number;
  heapIndex = -1;
  readonly #deadlines: Deadlines;
  readonly #late: () => Error;
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;
  #isSettled = false;

  /** `late` makes the error with which it rejects when nobody settled it within `timeoutMs`. */
  constructor(deadlines: Deadlines, timeoutMs: number, late: () => Error) {
    this.#deadlines = deadlines;
    this.#late = late;
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

  expire(reason?: Error): void {
    this.#isSettled = true;
    this.#reject(reason ?? this.#late());
  }
}

/** An item of a queue that calls wait for. */
export interface CallItem {
  /** Called when a call that waited for the item has been rejected before the item was settled. */
  leave(): void;
  /** Makes the error of a call that is too late, where the item knows better than the call why. */
  readonly lateError?: (() => Error) | undefined;
}

/** A call that tells the item it waits for when it is rejected early, so that an item without calls can leave its queue. */
export class QueuedCall<T> extends Call<T> {
  /** Changes when the item is merged into another. */
  item: CallItem | undefined;

  override expire(reason?: Error): void {
    super.expire(reason ?? this.item?.lateError?.());
    this.item?.leave();
  }
}
