import { Observable, type Subscriber, type Subscription } from "rxjs";
import { mayPass } from "../database/backend-error";
import { BackendClosedError } from "../errors";
import type { GroupProgress } from "../result-backend";
import type { Sweep } from "../waiting/sweep";

export interface GroupChangesParts {
  readonly sweep: Sweep;
  /** Every group that gets done, in the order of commits, whether or not a notification told of it. */
  readonly completions$: Observable<GroupProgress>;
  /** The ids of groups that are open, at most so many. */
  readonly readOpen: (limit: number) => Promise<readonly string[]>;
  /** Told of each read of the open ones that fails, and when one succeeds. */
  readonly onLook: (error?: Error) => void;
  /** Has a group read; it comes back through {@link GroupChanges.offer}. */
  readonly request: (groupId: string) => void;
}

/** Open groups that are looked for at once; of others one hears when they change. */
const maxOpenGroups = 1_000;
/** Of so many groups it is remembered what was emitted last, so that nothing is emitted twice. */
const maxRemembered = 10_000;

/** How far all groups are, for who looks at everything: the open ones first, then every change. While nobody looks it does nothing. */
export class GroupChanges {
  readonly #parts: GroupChangesParts;
  readonly #subscribers = new Set<Subscriber<GroupProgress>>();
  readonly #latest = new Map<string, GroupProgress>();
  #completions: Subscription | undefined;
  #isReading = false;
  #isClosed = false;

  constructor(parts: GroupChangesParts) {
    this.#parts = parts;
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  get isObserved(): boolean {
    return this.#subscribers.size > 0;
  }

  /** Every subscriber hears of all open groups anew. */
  changes$(): Observable<GroupProgress> {
    return new Observable((subscriber) => {
      if (this.#isClosed) {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      for (const progress of this.#latest.values()) if (!progress.done) subscriber.next(progress);
      this.#subscribers.add(subscriber);
      this.#parts.sweep.enter();
      if (this.#subscribers.size === 1) this.#followCompletions();
      this.catchUp();
      return () => {
        this.#subscribers.delete(subscriber);
        this.#parts.sweep.leave();
        if (this.isObserved) return;
        this.#completions?.unsubscribe();
        this.#latest.clear();
      };
    });
  }

  /** Emits what was read, unless it is no change. That a group is done counts as one if it was seen while it was open; else the stream of completions tells whether it is news. */
  offer(progress: GroupProgress): void {
    if (progress.done && !this.#latest.has(progress.groupId)) return;
    this.#emit(progress);
  }

  #followCompletions(): void {
    this.#completions = this.#parts.completions$.subscribe({
      next: (progress) => this.#emit(progress),
      error: (error: unknown) => this.error(error as Error),
    });
  }

  #emit(progress: GroupProgress): void {
    if (!this.isObserved) return;
    const latest = this.#latest.get(progress.groupId);
    if (latest !== undefined && isEqual(latest, progress)) return;
    // The one that changed last stands last.
    this.#latest.delete(progress.groupId);
    this.#latest.set(progress.groupId, progress);
    const [oldest] = this.#latest.keys();
    if (this.#latest.size > maxRemembered && oldest !== undefined) this.#latest.delete(oldest);
    for (const subscriber of [...this.#subscribers]) subscriber.next(progress);
  }

  /** Looks for groups that are open, and again at those that were: no notification may have told of them. */
  catchUp(): void {
    if (!this.isObserved || this.#isReading) return;
    this.#isReading = true;
    for (const { groupId, done } of this.#latest.values()) if (!done) this.#parts.request(groupId);
    this.#parts
      .readOpen(maxOpenGroups)
      .then((groupIds) => {
        this.#parts.onLook();
        for (const groupId of groupIds) this.#parts.request(groupId);
      })
      .catch((error: unknown) => {
        // However long an outage lasts: the next sweep, or the next connection, looks again.
        if (!mayPass(error)) {
          this.error(error as Error);
          return;
        }
        this.#parts.onLook(error);
        this.#parts.sweep.hurry();
      })
      .finally(() => (this.#isReading = false));
  }

  error(error: Error): void {
    for (const subscriber of [...this.#subscribers]) subscriber.error(error);
  }

  /** Errors the streams; nobody can subscribe from here on. */
  close(): void {
    this.#isClosed = true;
    this.error(new BackendClosedError());
  }
}

function isEqual(one: GroupProgress, other: GroupProgress): boolean {
  return (
    one.completed === other.completed &&
    one.failed === other.failed &&
    one.total === other.total &&
    one.done === other.done
  );
}
