import { concat, defer, finalize, ignoreElements, type Observable, repeat, type Subscription, tap, timer } from "rxjs";
import type { PostgresResultBackend } from "../postgres-backend";
import type { GroupProgress } from "../result-backend";

export interface GroupListTimes {
  /** Time between two reads of the list, in milliseconds. */
  readonly groupsMs: number;
  /** How long a completed group stays on the list, in milliseconds. */
  readonly lingerMs: number;
}

interface FollowedGroup {
  progress: GroupProgress;
  subscription: Subscription | undefined;
  /** Consecutive reads in which the group was not open. */
  missed: number;
}

/** The next read waits this many times as long as the last one took, so that reading stays below 5 % of the time. */
const restFactor = 20;

/**
 * The open groups. The list of ids is read regularly, because no stream names new groups; `group$` follows each group.
 */
export class GroupList {
  readonly #backend: PostgresResultBackend;
  readonly #limit: number;
  readonly #times: GroupListTimes;
  readonly #followed = new Map<string, FollowedGroup>();
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
    const groups = [...this.#followed.values()].map(({ progress }) => progress);
    return groups.sort((a, b) => (a.groupId < b.groupId ? -1 : 1));
  }

  /** Whether more groups are open than are on the list. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** Keeps the list current while subscribed. Emits nothing; errors if the list cannot be read. */
  follow(): Observable<never> {
    let [startedAt, tookMs] = [0, 0];
    const open$ = defer(async () => {
      startedAt = performance.now();
      return this.#backend.openGroups({ limit: this.#limit + 1 });
    });
    return open$.pipe(
      // Not in the promise above, which continues after an unsubscribe and would then leave subscriptions behind.
      tap((open) => {
        tookMs = performance.now() - startedAt;
        this.#update(open);
      }),
      repeat({ delay: () => timer(Math.max(this.#times.groupsMs, restFactor * tookMs)) }),
      ignoreElements(),
      finalize(() => this.#clear()),
    );
  }

  #update(open: readonly GroupProgress[]): void {
    this.#isRead = true;
    this.#hasMore = open.length > this.#limit;
    const shown = new Map(open.slice(0, this.#limit).map((progress) => [progress.groupId, progress]));
    for (const [groupId, group] of this.#followed) {
      group.missed = shown.has(groupId) ? 0 : group.missed + 1;
      // Not at the first miss: the group may have completed just now, and its stream has yet to report it.
      if (group.missed > 1 && !group.progress.done) this.#drop(groupId);
    }
    for (const progress of shown.values()) {
      // A completed group that is open again, as writers of the Rust crate can make it, is followed anew.
      if (this.#followed.get(progress.groupId)?.progress.done !== false) this.#follow(progress);
    }
  }

  #follow(progress: GroupProgress): void {
    const { groupId } = progress;
    this.#drop(groupId);
    const group: FollowedGroup = { progress, subscription: undefined, missed: 0 };
    this.#followed.set(groupId, group);
    const progress$ = this.#backend.group$(groupId).pipe(tap((latest) => (group.progress = latest)));
    const drop = (): void => this.#drop(groupId);
    // After an error, the next read of the list fails, too, and reports it; or it follows the group again.
    group.subscription = concat(progress$, timer(this.#times.lingerMs)).subscribe({ error: drop, complete: drop });
  }

  #drop(groupId: string): void {
    this.#followed.get(groupId)?.subscription?.unsubscribe();
    this.#followed.delete(groupId);
  }

  #clear(): void {
    for (const groupId of [...this.#followed.keys()]) this.#drop(groupId);
    this.#isRead = false;
    this.#hasMore = false;
  }
}
