import type { Deadline, Deadlines } from "../waiting/deadlines";
import { mayPass } from "../database/backend-error";
import { WaitTimeoutError } from "../errors";
import type { Router } from "../waiting/router";
import type { StoredGroup } from "./stored-group";

export interface GroupDeadlineParts {
  readonly deadlines: Deadlines;
  readonly router: Router<StoredGroup>;
  readonly load: (groupId: string) => Promise<StoredGroup | undefined>;
}

// The database's clock decides; ours only says when to ask, a little late rather than early.
const graceMs = 20;
/** After a look that failed: the group is no longer found past its deadline, so no other read would bring it up. */
const retryMs = 1_000;

/** Looks at open groups that somebody waits for when their deadlines are over: nothing is written then, so no notification tells of it. */
export class GroupDeadlines {
  readonly #parts: GroupDeadlineParts;
  readonly #entries = new Map<string, Deadline>();

  constructor(parts: GroupDeadlineParts) {
    this.#parts = parts;
  }

  /** To be called with each group that is read. */
  observe(group: StoredGroup): void {
    const { groupId, done } = group.progress;
    const { router } = this.#parts;
    if (done || group.leftMs === null || this.#entries.has(groupId) || !router.has(groupId)) return;
    this.#lookIn(Math.max(0, group.leftMs) + graceMs, group);
  }

  #lookIn(delayMs: number, group: StoredGroup): void {
    const { groupId } = group.progress;
    const { deadlines, router } = this.#parts;
    const entry: Deadline = {
      dueAt: performance.now() + delayMs,
      heapIndex: -1,
      expire: (reason) => {
        this.#entries.delete(groupId);
        if (reason === undefined && router.has(groupId)) void this.#look(group);
      },
    };
    this.#entries.set(groupId, entry);
    deadlines.add(entry);
  }

  async #look(group: StoredGroup): Promise<void> {
    const { groupId } = group.progress;
    try {
      // If it is there after all, reading it has brought it to its waiters, and back to `observe`.
      if ((await this.#parts.load(groupId)) !== undefined) return;
      this.#parts.router.error(groupId, WaitTimeoutError.forGroup(groupId, group.deadlineMs ?? 0, group.progress));
    } catch (error) {
      const isWatched = this.#parts.router.has(groupId) && !this.#entries.has(groupId);
      if (mayPass(error) && isWatched) this.#lookIn(retryMs, group);
    }
  }
}
