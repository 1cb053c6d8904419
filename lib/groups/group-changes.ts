import { defer, finalize, from, merge, Observable, share, type Subscriber, type TeardownLogic } from "rxjs";
import { mayPass } from "../database/backend-error";
import type { GroupProgress } from "../result-backend";
import type { KeyedSource } from "../waiting/keyed-source";
import type { ReadProblems } from "../waiting/read-problems";
import type { GroupReads, StoredGroup } from "./group-reads";
import { isSameProgress } from "./group-rules";

/** Open groups that are read at the start. Others appear when they change. */
const maxOpenGroups = 1_000;
/** Groups whose latest state is remembered, so that no state is emitted twice. */
const maxRemembered = 10_000;

/** Streams the progress of all groups: the open ones first, then every change. Reads nothing without subscribers. */
export class GroupChanges {
  readonly #source: KeyedSource<StoredGroup>;
  readonly #reads: GroupReads;
  readonly #problems: ReadProblems;
  /** Latest state by group; the group that changed last comes last. */
  readonly #latest = new Map<string, GroupProgress>();
  readonly #shared$ = new Observable<GroupProgress>((subscriber) => this.#follow(subscriber)).pipe(share());
  #subscriber: Subscriber<GroupProgress> | undefined;
  #subscribers = 0;
  #isReading = false;

  constructor(source: KeyedSource<StoredGroup>, reads: GroupReads, problems: ReadProblems) {
    this.#source = source;
    this.#reads = reads;
    this.#problems = problems;
  }

  get subscribers(): number {
    return this.#subscribers;
  }

  get isObserved(): boolean {
    return this.#subscriber !== undefined;
  }

  /** Emits all open groups to each subscriber, then every change. */
  changes$(): Observable<GroupProgress> {
    return defer(() => {
      this.#subscribers += 1;
      const open = [...this.#latest.values()].filter(({ done }) => !done);
      return merge(from(open), this.#shared$).pipe(finalize(() => (this.#subscribers -= 1)));
    });
  }

  /**
   * Emits a group that was read, unless its state is known. A done group is emitted only if it was seen while it was
   * open. For any other, the stream of completions decides whether it is new.
   */
  offer(progress: GroupProgress): void {
    if (!progress.done || this.#latest.has(progress.groupId)) this.#emit(progress);
  }

  /** Reads the open groups, and the remembered ones again, since their notifications may have been lost. */
  catchUp(): void {
    if (!this.isObserved || this.#isReading) return;
    for (const { groupId, done } of this.#latest.values()) if (!done) this.#source.readForFeed(groupId);
    void this.#readOpen();
  }

  #follow(subscriber: Subscriber<GroupProgress>): TeardownLogic {
    this.#subscriber = subscriber;
    // These also make the sweep read the groups, and error when the backend is closed.
    const completions = this.#source.feed
      .values$(() => true)
      .subscribe({
        next: ({ progress }) => this.#emit(progress),
        error: (error: unknown) => subscriber.error(error),
      });
    if (!subscriber.closed) this.catchUp();
    return () => {
      completions.unsubscribe();
      this.#subscriber = undefined;
      this.#latest.clear();
    };
  }

  #emit(progress: GroupProgress): void {
    if (this.#subscriber === undefined) return;
    const { groupId } = progress;
    const latest = this.#latest.get(groupId);
    if (latest !== undefined && isSameProgress(latest, progress)) return;
    this.#latest.delete(groupId);
    this.#latest.set(groupId, progress);
    const [oldest] = this.#latest.keys();
    if (this.#latest.size > maxRemembered && oldest !== undefined) this.#latest.delete(oldest);
    this.#subscriber.next(progress);
  }

  async #readOpen(): Promise<void> {
    this.#isReading = true;
    try {
      const groups = await this.#reads.open(maxOpenGroups);
      this.#problems.note("open groups");
      for (const { groupId } of groups) this.#source.readForFeed(groupId);
    } catch (error) {
      if (!mayPass(error)) {
        this.#subscriber?.error(error);
        return;
      }
      // However long an outage lasts, the next sweep or the next connection reads again.
      this.#problems.note("open groups", error);
      this.#source.sweep.hurry();
    } finally {
      this.#isReading = false;
    }
  }
}
