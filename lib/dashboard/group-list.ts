import { defer, finalize, ignoreElements, merge, type Observable, repeat, tap, timer } from "rxjs";
import type { PostgresResultBackend } from "../postgres-backend";
import type { GroupProgress } from "../result-backend";

export interface GroupListTimes {
  /** Time between two reads of the list, in milliseconds. */
  readonly groupsMs: number;
  /** Time for which a completed group stays on the list, in milliseconds; longer if reads are slow. */
  readonly lingerMs: number;
}

interface ListedGroup {
  readonly progress: GroupProgress;
  /** Reads without the group after which it is dropped. */
  readonly readsLeft: number;
}

/** The next read waits this many times as long as the last one took, so that reading stays below 5 % of the time. */
const restFactor = 20;

/**
 * The open groups and recently completed ones. Changes appear at once. New, deleted and expired groups appear with the
 * next read.
 */
export class GroupList {
  readonly #backend: PostgresResultBackend;
  readonly #limit: number;
  readonly #times: GroupListTimes;
  readonly #listed = new Map<string, ListedGroup>();
  /** Changes since the latest read began, which may be newer than its answer. */
  readonly #changed = new Map<string, GroupProgress>();
  #hasMore = false;
  #isRead = false;

  constructor(backend: PostgresResultBackend, limit: number, times: GroupListTimes) {
    this.#backend = backend;
    this.#limit = limit;
    this.#times = times;
  }

  /** The groups by id; undefined before the first read. */
  get groups(): readonly GroupProgress[] | undefined {
    if (!this.#isRead) return undefined;
    const groups = [...this.#listed.values()].map(({ progress }) => progress);
    return groups.sort((a, b) => (a.groupId < b.groupId ? -1 : 1));
  }

  /** True if more groups are open than are on the list. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** Keeps the list current while subscribed. Emits nothing; errors if the list cannot be read. */
  follow(): Observable<never> {
    let [startedAt, tookMs] = [0, 0];
    const open$ = defer(async () => {
      startedAt = performance.now();
      this.#changed.clear();
      return this.#backend.openGroups({ limit: this.#limit + 1 });
    });
    const reads$ = open$.pipe(
      // Not in the promise above, which continues after an unsubscribe.
      tap((open) => {
        tookMs = performance.now() - startedAt;
        this.#update(open);
      }),
      repeat({ delay: () => timer(Math.max(this.#times.groupsMs, restFactor * tookMs)) }),
    );
    const changes$ = this.#backend.groupChanges$().pipe(tap((progress) => this.#change(progress)));
    return merge(changes$, reads$).pipe(
      ignoreElements(),
      finalize(() => this.#clear()),
    );
  }

  #change(progress: GroupProgress): void {
    this.#changed.set(progress.groupId, progress);
    if (this.#listed.has(progress.groupId)) this.#list(progress);
  }

  #update(open: readonly GroupProgress[]): void {
    this.#isRead = true;
    this.#hasMore = open.length > this.#limit;
    for (const [groupId, { progress, readsLeft }] of this.#listed) {
      if (readsLeft > 0) this.#listed.set(groupId, { progress, readsLeft: readsLeft - 1 });
      else this.#listed.delete(groupId);
    }
    for (const progress of open.slice(0, this.#limit)) this.#list(this.#changed.get(progress.groupId) ?? progress);
  }

  #list(progress: GroupProgress): void {
    const { groupsMs, lingerMs } = this.#times;
    // The first read without an open group does not drop it, since it may have completed and its change may still
    // arrive.
    this.#listed.set(progress.groupId, { progress, readsLeft: progress.done ? Math.ceil(lingerMs / groupsMs) : 1 });
  }

  #clear(): void {
    this.#listed.clear();
    this.#changed.clear();
    this.#isRead = false;
    this.#hasMore = false;
  }
}
