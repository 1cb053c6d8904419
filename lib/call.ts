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

  /** `late` makes the error with which it rejects when nobody settled it within `timeoutMs`. */
  constructor(deadlines: Deadlines, timeoutMs: number, late: () => Error) {
    this.#deadlines = deadlines;
    this.#late = late;
    this.dueAt = performance.now() + timeoutMs;
    this.promise = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    deadlines.add(this);
  }

  resolve(value: T): void {
    this.#deadlines.remove(this);
    this.#resolve(value);
  }

  reject(error: unknown): void {
    this.#deadlines.remove(this);
    this.#reject(error);
  }

  expire(reason?: Error): void {
    this.#reject(reason ?? this.#late());
  }
}
