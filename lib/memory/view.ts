import { type Observable, Subject, type Subscription } from "rxjs";
import { Call, Deadlines } from "../waiting/deadlines";
import { BackendClosedError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import type { ResolvedOptions } from "../options";
import type { GroupProgress, WaitOptions } from "../result-backend";
import type { Codec } from "../value/json";
import { Reader } from "../results/reader";
import type { MemoryGroup } from "./group";
import type { MemoryStorage } from "./storage";
import { now } from "./clock";
import { soon } from "./soon";
import { Watches } from "./watches";
import { throwIfAborted } from "../waiting/signals";

/** What one backend has of its own: who waits, and whether it is closed. The storage may have others. */
export class MemoryView {
  readonly storage: MemoryStorage;
  readonly ttlMs: number;
  readonly maxResultBytes: number;
  readonly codec: Codec | undefined;
  readonly deadlines = new Deadlines(now);
  readonly reader: Reader;
  readonly results: Watches<StoredResult>;
  readonly groups: Watches<MemoryGroup>;
  readonly stored$ = new Subject<StoredResult>();
  readonly groupDone$ = new Subject<GroupProgress>();
  readonly #feeding: Subscription;
  #closing: Promise<void> | undefined;

  constructor(
    storage: MemoryStorage,
    { ttlMs, maxResultBytes, codec }: Pick<ResolvedOptions, "ttlMs" | "maxResultBytes" | "codec">,
  ) {
    this.storage = storage;
    this.ttlMs = ttlMs;
    this.maxResultBytes = maxResultBytes;
    this.codec = codec;
    this.reader = new Reader(this.deadlines, codec);
    this.results = new Watches<StoredResult>(
      storage.stored$,
      ({ taskId }) => taskId,
      (taskId) => storage.read(taskId),
    );
    this.groups = new Watches<MemoryGroup>(
      storage.groupChanged$,
      ({ groupId }) => groupId,
      (groupId) => storage.group(groupId),
    );
    this.#feeding = storage.stored$.subscribe(this.stored$);
    this.#feeding.add(storage.groupDone$.subscribe(this.groupDone$));
  }

  /** @throws {@link BackendClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new BackendClosedError();
  }

  /** The first value of a stream, unless time or signal end the wait before. `late` makes the error for the former. */
  async first<T>(source$: Observable<T>, { timeoutMs, signal }: WaitOptions, late: () => Error): Promise<T> {
    this.assertOpen();
    throwIfAborted(signal);
    const call = new Call<T>(this.deadlines, timeoutMs, late, signal);
    const subscription = source$.subscribe({
      next: (value) => call.resolve(value),
      error: (error) => call.reject(error),
    });
    // Its first look comes before this. By a timer, as the others are, the answer would have to wait for fake timers to be advanced.
    if (timeoutMs === 0) soon(() => call.reject(late()));
    try {
      return await call.promise;
    } finally {
      subscription.unsubscribe();
    }
  }

  async close(drainMs: number): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    await this.#closing;
  }

  async #close(drainMs: number): Promise<void> {
    if (drainMs > 0) await this.#drain(drainMs);
    this.results.close();
    this.groups.close();
    this.#feeding.unsubscribe();
    // A subject that has errored also errors whoever subscribes to it later.
    this.stored$.error(new BackendClosedError());
    this.groupDone$.error(new BackendClosedError());
    // What is left there are checks by schemas: a wait whose result has come, and has not been checked.
    this.deadlines.expireAll(new BackendClosedError());
  }

  async #drain(drainMs: number): Promise<void> {
    const drained = new Call<void>(this.deadlines, drainMs, () => new BackendClosedError());
    void Promise.all([this.results.drain(), this.groups.drain(), this.reader.drain()]).then(() => drained.resolve());
    await drained.promise.catch(() => undefined);
  }
}
