import { mayPass } from "../database/backend-error";
import type { Deadline } from "../waiting/deadlines";
import type { KeyedSource } from "../waiting/keyed-source";
import type { ReadReason } from "../waiting/loader";
import { expiredError, type StoredGroup } from "./group-reads";

/** The database's clock decides, so this process reads slightly late rather than early. */
export const graceMs = 20;
/** Delay after a failed read at a deadline. No other read would report an expired group, since it is not found. */
const retryMs = 1_000;

/**
 * Reads groups again when only time has changed them, since no notification says so: at their deadlines, and when a
 * group that the Rust crate declares row by row has settled, because no further row arrived for a while.
 */
export class GroupTimers {
  readonly #source: KeyedSource<StoredGroup>;
  /** Deadlines of watched groups that are open, by group. */
  readonly #expiring = new Map<string, Deadline>();
  /** By group, whether the streams of all groups must emit it. */
  readonly #settling = new Map<string, boolean>();

  constructor(source: KeyedSource<StoredGroup>) {
    this.#source = source;
    source.router.released$.subscribe((groupId) => this.#forget(groupId));
  }

  isSettling(groupId: string): boolean {
    return this.#settling.has(groupId);
  }

  /**
   * Watches the deadline of an open group. Called for each group that is read, which may be the next one of a deleted
   * group's id.
   */
  observeDeadline(group: StoredGroup): void {
    const { groupId, done } = group.progress;
    if (done || group.leftMs === null || !this.#source.router.has(groupId)) this.#forget(groupId);
    else this.#lookIn(group.leftMs, group);
  }

  /** Watches a settling group. Called for each group that is read, with the reason. */
  observeSettling(group: StoredGroup, reason: ReadReason): void {
    const { groupId } = group.progress;
    if (group.settlesMs === null || !this.#isWatched(groupId)) return;
    const isTimed = this.#settling.has(groupId);
    this.#settling.set(groupId, this.#settling.get(groupId) === true || this.#source.feed.isNew(group, reason));
    if (isTimed) return;
    this.#after(group.settlesMs, () => {
      const isNew = this.#settling.get(groupId);
      this.#settling.delete(groupId);
      if (!this.#isWatched(groupId)) return;
      if (isNew === true) this.#source.feed.ask(groupId);
      else this.#source.loader.request(groupId, reason.cause);
    });
  }

  #isWatched(groupId: string): boolean {
    const { router, feed } = this.#source;
    return router.has(groupId) || feed.subscribers > 0;
  }

  #lookIn(delayMs: number, group: StoredGroup): void {
    const { groupId } = group.progress;
    this.#forget(groupId);
    const deadline = this.#after(delayMs, () => void this.#look(group, deadline));
    this.#expiring.set(groupId, deadline);
  }

  #forget(groupId: string): void {
    const deadline = this.#expiring.get(groupId);
    if (deadline === undefined) return;
    this.#expiring.delete(groupId);
    this.#source.deadlines.remove(deadline);
  }

  async #look(group: StoredGroup, deadline: Deadline): Promise<void> {
    const { groupId } = group.progress;
    const { loader, router } = this.#source;
    // A read that finds the group observes it again. Later watchers do not wait for this group.
    const isCurrent = (): boolean => this.#expiring.get(groupId) === deadline;
    try {
      const present = await loader.load(groupId, "deadline");
      if (present === undefined && isCurrent()) router.error(groupId, expiredError(group));
    } catch (error) {
      if (mayPass(error) && isCurrent()) this.#lookIn(retryMs, group);
    }
  }

  /** Calls `act` after a delay, unless the backend is closed first. */
  #after(delayMs: number, act: () => void): Deadline {
    const expire = (reason?: unknown): void => {
      if (reason === undefined) act();
    };
    const dueAt = performance.now() + Math.max(0, delayMs) + graceMs;
    const deadline = { dueAt, heapIndex: -1, expire };
    this.#source.deadlines.add(deadline);
    return deadline;
  }
}
