import { Subject } from "rxjs";
import type { StoredResult } from "../value/stored-result";
import type { GroupProgress } from "../result-backend";
import type { StoreRow } from "../results/store-row";
import { MemoryGroup } from "./group";
import { now } from "./clock";
import { soon } from "./soon";

/** What stands in for the database: results, groups, and word of what changes. Several backends may be open on one. */
export class MemoryStorage {
  readonly stored$ = new Subject<StoredResult>();
  readonly groupChanged$ = new Subject<MemoryGroup>();
  readonly groupDone$ = new Subject<GroupProgress>();
  readonly #results = new Map<string, { readonly stored: StoredResult; readonly expiresAt: number }>();
  /** Those that are done come in the order in which they got so. */
  readonly #groups = new Map<string, MemoryGroup>();

  store({ taskId, result, error, ttlMs, keep }: StoreRow): void {
    if (keep && this.read(taskId) !== undefined) return;
    const stored = { taskId, result, error, storedAt: now() * 1_000 };
    this.#results.set(taskId, { stored, expiresAt: now() + (ttlMs ?? Infinity) });
    soon(() => this.stored$.next(stored));
  }

  /** The result of a task, unless it has expired. */
  read(taskId: string): StoredResult | undefined {
    return unlessExpired(this.#results, taskId)?.stored;
  }

  delete(taskId: string): boolean {
    return this.read(taskId) !== undefined && this.#results.delete(taskId);
  }

  /** A group, unless it has expired. */
  group(groupId: string): MemoryGroup | undefined {
    return unlessExpired(this.#groups, groupId);
  }

  /** Groups that are done, longest done first. */
  doneGroups(): MemoryGroup[] {
    return [...this.#groups.keys()].flatMap((groupId) => this.group(groupId) ?? []).filter(({ isDone }) => isDone);
  }

  /** Changes a group, which is made if it is absent, and tells of it; does neither if `change` throws. */
  changeGroup<T>(groupId: string, change: (group: MemoryGroup) => T): T {
    const group = this.group(groupId) ?? new MemoryGroup(groupId);
    const wasDone = group.isDone;
    const outcome = change(group);
    const progress = group.progress();
    const getsDone = progress.done && !wasDone;
    // A map keeps the order in which its keys came, so this one becomes the last.
    if (getsDone) this.#groups.delete(groupId);
    this.#groups.set(groupId, group);
    soon(() => {
      this.groupChanged$.next(group);
      if (getsDone) this.groupDone$.next(progress);
    });
    return outcome;
  }
}

/** Expired entries go as they are come across: a timer for each would keep a test's process alive. */
function unlessExpired<T extends { readonly expiresAt: number }>(entries: Map<string, T>, key: string): T | undefined {
  const entry = entries.get(key);
  if (entry === undefined || entry.expiresAt > now()) return entry;
  entries.delete(key);
  return undefined;
}
