import { Observable, type Subscription } from "rxjs";
import { BackendClosedError } from "../errors";
import { Router } from "../waiting/router";
import { soon } from "./soon";

/** Those who wait for something under a key of one kind: results by task, or groups by their id. */
export class Watches<T> {
  readonly #router = new Router<T>();
  readonly #read: (key: string) => T | undefined;
  readonly #source: Subscription;
  #isClosed = false;

  constructor(changes$: Observable<T>, keyOf: (value: T) => string, read: (key: string) => T | undefined) {
    this.#read = read;
    this.#source = changes$.subscribe((value) => this.#router.next(keyOf(value), value, "notification"));
  }

  get size(): number {
    return this.#router.size;
  }

  /** What is there under a key, if anything, and then each change of it. */
  watch$(key: string): Observable<T> {
    return new Observable((subscriber) => {
      if (this.#isClosed) {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      soon(() => {
        const value = this.#read(key);
        if (value !== undefined) subscriber.next(value);
      });
      return this.#router.watch(key).subscribe(subscriber);
    });
  }

  /** Resolves once nobody watches anything. */
  async drain(): Promise<void> {
    await this.#router.drain();
  }

  close(): void {
    this.#isClosed = true;
    this.#source.unsubscribe();
    this.#router.errorAll(new BackendClosedError());
  }
}
