import type { Observable, Subscription } from "rxjs";
import { BackendClosedError } from "../errors";
import { Router, type WakeCause } from "../waiting/router";
import { type WaitLimits, type WaitSource, watch$ } from "../waiting/waits";

interface MemoryWaitSource<T> extends Pick<WaitSource<T>, "deadlines" | "isAnswer" | "timeoutError"> {
  readonly changes$: Observable<T>;
  readonly keyOf: (value: T) => string;
  readonly read: (key: string) => T | undefined;
}

/** Waits for results or groups by their ids, as with Postgres but without a listener and sweeps. */
export class MemoryWaits<T> {
  readonly #source: WaitSource<T>;
  readonly #changes: Subscription;

  constructor({ changes$, keyOf, read, ...parts }: MemoryWaitSource<T>) {
    const router = new Router<T>();
    const load = async (key: string, cause: WakeCause): Promise<T | undefined> => {
      // As with a database, the answer arrives after the call has returned.
      await Promise.resolve();
      const value = read(key);
      if (value !== undefined) router.next(key, value, cause);
      return value;
    };
    this.#source = {
      ...parts,
      router,
      loader: { lastError: undefined, request: (key, cause) => void load(key, cause), load },
      sweep: { enter: () => undefined, leave: () => undefined },
      countWake: () => undefined,
    };
    this.#changes = changes$.subscribe((value) => router.next(keyOf(value), value, "notification"));
  }

  /** Number of keys with waits. */
  get size(): number {
    return this.#source.router.size;
  }

  /** Emits the value of a key, now and at every change, and completes with the answer. */
  watch$(key: string, limits?: WaitLimits): Observable<T> {
    return watch$(this.#source, key, limits);
  }

  /** Resolves once no wait is open. */
  async drain(): Promise<void> {
    await this.#source.router.drain();
  }

  close(): void {
    this.#changes.unsubscribe();
    this.#source.router.close(new BackendClosedError());
  }
}
