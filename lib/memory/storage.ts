import { asapScheduler, observeOn, Subject } from "rxjs";
import type { GroupProgress } from "../result-backend";
import type { StoredResult } from "../value/decoding";
import type { StoreRow } from "../value/encoding";
import { MemoryGroup } from "./group";

/** Replaces the database: holds results and groups, and notifies of their changes. Several backends may share one. */
export class MemoryStorage {
  readonly #stored = new Subject<StoredResult>();
  readonly #groupChanged = new Subject<MemoryGroup>();
  readonly #groupDone = new Subject<GroupProgress>();
  // As with a database, subscribers are notified after the call that made the change. RxJS schedules this by a promise,
  // which fake timers do not replace; Jest's replace `queueMicrotask`.
  readonly stored$ = this.#stored.pipe(observeOn(asapScheduler));
  readonly groupChanged$ = this.#groupChanged.pipe(observeOn(asapScheduler));
  readonly groupDone$ = this.#groupDone.pipe(observeOn(asapScheduler));
  readonly #results = new Map<string, { readonly stored: StoredResult; readonly expiresAt: number }>();
  /** Done groups are in the order in which they were done. */
  readonly #groups = new Map<string, MemoryGroup>();

  store({ taskId, result, error, ttlMs, keep }: StoreRow): void {
    if (keep && this.read(taskId) !== undefined) return;
    const stored = { taskId, result, error, storedAt: Date.now() * 1_000 };
    this.#results.set(taskId, { stored, expiresAt: Date.now() + (ttlMs ?? Infinity) });
    this.#stored.next(stored);
  }

  /** Returns the result of a task, unless it has expired. */
  read(taskId: string): StoredResult | undefined {
    return unlessExpired(this.#results, taskId)?.stored;
  }

  delete(taskId: string): boolean {
    return this.read(taskId) !== undefined && this.#results.delete(taskId);
  }

  /** Returns a group, unless it has expired. */
  group(groupId: string): MemoryGroup | undefined {
    return unlessExpired(this.#groups, groupId);
  }

  /** Lists the done groups, longest done first. */
  doneGroups(): MemoryGroup[] {
    return [...this.#groups.keys()].flatMap((groupId) => this.group(groupId) ?? []).filter(({ isDone }) => isDone);
  }

  /** Changes an existing or new group, and notifies. If `change` throws, nothing is changed or notified. */
  changeGroup<T>(groupId: string, change: (group: MemoryGroup) => T): T {
    const group = this.group(groupId) ?? new MemoryGroup(groupId);
    const wasDone = group.isDone;
    const outcome = change(group);
    const isNewlyDone = group.isDone && !wasDone;
    // Removed first, so that the group becomes the last in the order of the map.
    if (isNewlyDone) this.#groups.delete(groupId);
    this.#groups.set(groupId, group);
    this.#groupChanged.next(group);
    if (isNewlyDone) this.#groupDone.next(group.progress);
    return outcome;
  }
}

/** Removes expired entries when they are read: a timer for each would keep a test process alive. */
function unlessExpired<T extends { readonly expiresAt: number }>(entries: Map<string, T>, key: string): T | undefined {
  const entry = entries.get(key);
  if (entry === undefined || entry.expiresAt > Date.now()) return entry;
  entries.delete(key);
  return undefined;
}
