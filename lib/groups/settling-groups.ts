import type { Deadline, Deadlines } from "../waiting/deadlines";
import type { WakeCause } from "../waiting/router";
import type { StoredGroup } from "./stored-group";

export interface SettlingGroupParts {
  readonly deadlines: Deadlines;
  /** Tells if a group is waited for. */
  readonly isWanted: (groupId: string) => boolean;
  /** Has a group read; `isNew` if streams of all groups are to show it. */
  readonly request: (groupId: string, cause: WakeCause, isNew: boolean) => void;
}

interface Settling extends Deadline {
  readonly cause: WakeCause;
  isNew: boolean;
}

// The database's clock decides; this one only says when to ask, a little late rather than early.
const graceMs = 20;

/**
 * Reads groups again that the Rust crate declares row by row and that look complete: they are done once no other row has come for a while. Nothing is written then, so no
 * notification tells of it.
 */
export class SettlingGroups {
  readonly #parts: SettlingGroupParts;
  readonly #entries = new Map<string, Settling>();

  constructor(parts: SettlingGroupParts) {
    this.#parts = parts;
  }

  has(groupId: string): boolean {
    return this.#entries.has(groupId);
  }

  /** To be called with each group that is read, and with what led to the read. */
  observe({ progress: { groupId }, settlesMs }: StoredGroup, cause: WakeCause, isNew: () => boolean): void {
    if (settlesMs === null || !this.#parts.isWanted(groupId)) return;
    const present = this.#entries.get(groupId);
    if (present !== undefined) {
      present.isNew ||= isNew();
      return;
    }
    const entry: Settling = {
      ...dueIn(settlesMs),
      cause,
      isNew: isNew(),
      expire: (reason) => {
        this.#entries.delete(groupId);
        if (reason === undefined && this.#parts.isWanted(groupId))
          this.#parts.request(groupId, entry.cause, entry.isNew);
      },
    };
    this.#entries.set(groupId, entry);
    this.#parts.deadlines.add(entry);
  }

  /** Resolves when a group may be done; rejects if the backend closes before. */
  async settled({ settlesMs }: StoredGroup): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const expire = (reason?: Error): void => (reason === undefined ? resolve() : reject(reason));
      this.#parts.deadlines.add({ ...dueIn(settlesMs ?? 0), expire });
    });
  }
}

const dueIn = (ms: number): Pick<Deadline, "dueAt" | "heapIndex"> => ({
  dueAt: performance.now() + Math.max(0, ms) + graceMs,
  heapIndex: -1,
});
