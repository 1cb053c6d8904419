import type { Observable, Subscription } from "rxjs";
import { BackendClosedError } from "../errors";
import { Router, type WakeCause } from "../waiting/router";
import { type WaitLimits, type WaitSource, Waits } from "../waiting/waits";

interface MemoryWaitSource<T> extends Pick<WaitSource<T>, "deadlines" | "isAnswer" | "timeoutError"> {
  readonly changes$: Observable<T>;
  readonly keyOf: (value: T) => string;
  readonly read: (key: string) => T | undefined;
}

/** Waits for results, or for groups, by their ids: as with Postgres, but with neither a listener nor sweeps. */
export class MemoryWaits<T> {
  readonly #router = new Router<T>();
  readonly #waits: Waits<T>;
  readonly #read: (key: string) => T | undefined;
  readonly #changes: Subscription;

  constructor({ changes$, keyOf, read, ...parts }: MemoryWaitSource<T>) {
    this.#read = read;
    this.#waits = new Waits<T>({
      ...parts,
      router: this.#router,
      loader: {
        lastError: undefined,
        request: (key, cause) => void this.#load(key, cause),
        load: async (key, cause) => this.#load(key, cause),
      },
      sweep: { enter: () => undefined, leave: () => undefined },
      countWake: () => undefined,
    });
    this.#changes = changes$.subscribe((value) => this.#router.next(keyOf(value), value, "notification"));
  }

  /** The number of keys that are waited for. */
  get size(): number {
    return this.#router.size;
  }

  /** Emits the value of a key, now and at every change, and completes with the answer. */
  watch$(key: string, limits?: WaitLimits): Observable<T> {
    return this.#waits.watch$(key, limits);
  }

  /** Resolves once nothing is waited for. */
  async drain(): Promise<void> {
    await this.#router.drain();
  }

  close(): void {
    this.#waits.close();
    this.#changes.unsubscribe();
    this.#router.errorAll(new BackendClosedError());
  }

  async #load(key: string, cause: WakeCause): Promise<T | undefined> {
    // As with a database, the answer comes after the call.
    await Promise.resolve();
    const value = this.#read(key);
    if (value !== undefined) this.#router.next(key, value, cause);
    return value;
  }
}
