import { merge, type Observable, Subject } from "rxjs";
import { BackendClosedError, WaitTimeoutError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { GroupProgress, WriteOptions } from "../result-backend";
import { Reader } from "../results/reader";
import { typeName } from "../value/arguments";
import type { StoredResult } from "../value/decoding";
import { Call, Deadlines } from "../waiting/deadlines";
import type { MemoryGroup } from "./group";
import type { MemoryStorage } from "./storage";
import { MemoryWaits } from "./waits";

/** The parts of a backend that others on the same storage do not share: its options, its waits, and its closing. */
export class MemoryView {
  readonly storage: MemoryStorage;
  readonly options: Pick<ResolvedOptions, "ttlMs" | "maxResultBytes" | "codec">;
  // Not by `performance.now()`: `node:test`, and Vitest before 3, replace timers and `Date` but not `performance`,
  // so that waits would never end.
  readonly deadlines = new Deadlines(() => Date.now());
  readonly reader: Reader;
  readonly results: MemoryWaits<StoredResult>;
  readonly groups: MemoryWaits<MemoryGroup>;
  /** Every result that is stored from now on. */
  readonly stored$: Observable<StoredResult>;
  /** Every group that is done from now on. */
  readonly groupDone$: Observable<GroupProgress>;
  readonly #closed$ = new Subject<never>();
  #closing: Promise<void> | undefined;

  constructor(storage: MemoryStorage, options: MemoryView["options"]) {
    this.storage = storage;
    this.options = options;
    this.reader = new Reader(this.deadlines, options.codec);
    this.stored$ = merge(storage.stored$, this.#closed$);
    this.groupDone$ = merge(storage.groupDone$, this.#closed$);
    this.results = new MemoryWaits<StoredResult>({
      deadlines: this.deadlines,
      changes$: storage.stored$,
      keyOf: ({ taskId }) => taskId,
      read: (taskId) => storage.read(taskId),
      isAnswer: () => true,
      timeoutError: (taskId, timeoutMs) => new WaitTimeoutError({ taskId }, timeoutMs),
    });
    this.groups = new MemoryWaits<MemoryGroup>({
      deadlines: this.deadlines,
      changes$: storage.groupChanged$,
      keyOf: ({ groupId }) => groupId,
      read: (groupId) => storage.group(groupId),
      isAnswer: ({ isDone }) => isDone,
      timeoutError: (groupId, timeoutMs, latest) => WaitTimeoutError.forGroup(groupId, timeoutMs, latest?.progress),
    });
  }

  /** @throws {@link BackendClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new BackendClosedError();
  }

  /** Refuses a write that is meant for a transaction: a test in which it took effect at once would pass wrongly. */
  assertWritable({ client }: WriteOptions): void {
    if (client !== undefined)
      throw new TypeError(`client: expected none, since memory has no transactions, got ${typeName(client)}.`);
    this.assertOpen();
  }

  async close(drainMs: number): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    await this.#closing;
  }

  async #close(drainMs: number): Promise<void> {
    if (drainMs > 0) await this.#drain(drainMs);
    this.results.close();
    this.groups.close();
    this.#closed$.error(new BackendClosedError());
    // Only checks by schemas are left: the result is there and its check has not ended.
    this.deadlines.expireAll(new BackendClosedError());
  }

  async #drain(drainMs: number): Promise<void> {
    const drained = new Call<void>(this.deadlines, drainMs, () => new BackendClosedError());
    void Promise.all([this.results.drain(), this.groups.drain(), this.reader.drain()]).then(() => drained.resolve());
    await drained.promise.catch(() => undefined);
  }
}
