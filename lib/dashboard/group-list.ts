import { defer, finalize, ignoreElements, type Observable, repeat, Subscription, tap, timer } from "rxjs";
import type { PostgresResultBackend } from "../postgres-backend";
import type { GroupProgress } from "../result-backend";

interface Followed {
  progress: GroupProgress;
  subscription: Subscription;
  /** When it was seen to be done, on the clock of `performance.now()`. */
  doneAt: number | undefined;
  /** How many times in a row it was not among the open ones. */
  missing: number;
}

export interface GroupListTimes {
  /** Between two reads of the list, in milliseconds. */
  readonly groupsMs: number;
  /** How long a group that is done stays, so that its bar is seen to be full, in milliseconds. */
  readonly lingerMs: number;
}

/** What reading the list may take of the database's time: the next read comes this many times as late as the last one took. */
const restFactor = 20;

/**
 * The open groups, each followed by `group$` as long as it is on the list. Which there are nobody tells: that is read, and where it takes long, more seldom.
 */
export class GroupList {
  readonly #backend: PostgresResultBackend;
  readonly #limit: number;
  readonly #times: GroupListTimes;
  readonly #followed = new Map<string, Followed>();
  #hasMore = false;
  #isRead = false;

  constructor(backend: PostgresResultBackend, limit: number, times: GroupListTimes) {
    this.#backend = backend;
    this.#limit = limit;
    this.#times = times;
  }

  /** Those on the list, by id; undefined until it has been read. */
  get groups(): readonly GroupProgress[] | undefined {
    if (!this.#isRead) return undefined;
    const groups = [...this.#followed.values()].map(({ progress }) => progress);
    return groups.sort((a, b) => (a.groupId < b.groupId ? -1 : 1));
  }

  /** Whether there are open groups that are not on the list. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** Follows them as long as it is subscribed to. Emits nothing; errors when the list cannot be read. */
  follow(): Observable<never> {
    let [startedAt, tookMs] = [0, 0];
    const read$ = defer(async () => {
      startedAt = performance.now();
      return this.#backend.openGroups({ limit: this.#limit + 1 });
    });
    return read$.pipe(
      // Not in the promise, which goes on when nobody is subscribed any more: what is followed then would be followed for ever.
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
    const shown = open.slice(0, this.#limit);
    const openIds = new Set(shown.map(({ groupId }) => groupId));
    for (const [groupId, followed] of this.#followed) {
      if (openIds.has(groupId)) continue;
      followed.missing += 1;
      // Not at the first time: it has just got done, and its stream is about to tell.
      const isGone =
        followed.doneAt === undefined
          ? followed.missing > 1
          : performance.now() - followed.doneAt > this.#times.lingerMs;
      if (isGone) this.#drop(groupId);
    }
    for (const progress of shown) this.#follow(progress);
  }

  #follow(progress: GroupProgress): void {
    const { groupId } = progress;
    const present = this.#followed.get(groupId);
    if (present !== undefined) {
      present.missing = 0;
      // Done, and open again, as the crate's writers can make it; or the list is older than the news.
      if (present.doneAt === undefined) return;
      this.#drop(groupId);
    }
    const followed: Followed = { progress, subscription: new Subscription(), doneAt: undefined, missing: 0 };
    this.#followed.set(groupId, followed);
    const progress$ = this.#backend.group$(groupId).pipe(tap((each) => (followed.progress = each)));
    followed.subscription.add(
      progress$.subscribe({
        complete: () => (followed.doneAt = performance.now()),
        // The next read of the list fails, too, and says why; or it follows the group again.
        error: () => this.#drop(groupId),
      }),
    );
  }

  #drop(groupId: string): void {
    this.#followed.get(groupId)?.subscription.unsubscribe();
    this.#followed.delete(groupId);
  }

  #clear(): void {
    for (const groupId of [...this.#followed.keys()]) this.#drop(groupId);
    this.#isRead = false;
    this.#hasMore = false;
  }
}
