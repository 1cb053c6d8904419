import { type Conflict, type GroupSize, initConflict, memberConflict, winner } from "../groups/group-rules";
import type { GroupProgress } from "../result-backend";
import { compareBytes } from "../value/arguments";
import type { StoredResult } from "../value/decoding";

/** One group: its finished members, and the claim on it. A change that conflicts throws before it changes anything. */
export class MemoryGroup {
  readonly groupId: string;
  /** While the group is open, its deadline; once it is done, the end of its time to live. */
  expiresAt = Infinity;
  #size: GroupSize | undefined;
  #declaredIds: ReadonlySet<string> | undefined;
  readonly #finished = new Map<string, StoredResult>();
  /** Keys of `#finished` in order, so that reading on from an index costs only what is left to read. */
  readonly #order: string[] = [];
  #completed = 0;
  #isDone = false;
  /** The latest claim, until a time of `Date.now()`. */
  #lease: { until: number } | undefined;

  constructor(groupId: string) {
    this.groupId = groupId;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  get isClaimed(): boolean {
    return this.#lease !== undefined && this.#lease.until > Date.now();
  }

  get deadlineMs(): number {
    return this.#size?.deadlineMs ?? Infinity;
  }

  get progress(): GroupProgress {
    return {
      groupId: this.groupId,
      total: this.#size?.total ?? null,
      completed: this.#completed,
      failed: this.#finished.size - this.#completed,
      done: this.#isDone,
    };
  }

  init(size: GroupSize): void {
    const conflict = this.#size === undefined ? this.#conflictWithMembers(size) : conflictBetween(this.#size, size);
    if (conflict !== undefined) throw initConflict(this.groupId, size.total, conflict);
    if (this.#size !== undefined) return;
    this.#size = size;
    this.#declaredIds = size.memberIds === null ? undefined : new Set(size.memberIds);
    this.expiresAt = Date.now() + this.deadlineMs;
    this.#endIfComplete();
  }

  /** Records the outcome of a member, and returns the number of completed members. */
  finish(outcome: StoredResult): number {
    const { taskId } = outcome;
    const present = this.#finished.get(taskId);
    if (present === undefined) this.#add(taskId);
    const kept = present === undefined ? outcome : winner(present, outcome);
    if (kept.error === null && present?.error !== null) this.#completed += 1;
    this.#finished.set(taskId, kept);
    this.#endIfComplete();
    return this.#completed;
  }

  /** Returns the outcomes of members from an index on, in the order in which they finished. */
  finishedFrom(index: number): StoredResult[] {
    return this.#order.slice(index).flatMap((id) => this.#finished.get(id) ?? []);
  }

  /** Returns the outcomes of members in declared order, or else by the bytes of their ids. */
  outcomes(): StoredResult[] {
    const ids = this.#size?.memberIds ?? [...this.#order].sort(compareBytes);
    return ids.flatMap((id) => this.#finished.get(id) ?? []);
  }

  /**
   * Claims the group. Returns a function that makes the claim permanent, unless another caller has claimed the group
   * meanwhile.
   */
  claim(leaseMs: number): (() => boolean) | undefined {
    if (!this.#isDone || this.isClaimed) return undefined;
    const lease = { until: Date.now() + leaseMs };
    this.#lease = lease;
    return () => {
      lease.until = Infinity;
      return this.#lease === lease;
    };
  }

  #add(taskId: string): void {
    if (this.#declaredIds?.has(taskId) === false) throw memberConflict(this.groupId, taskId, "members");
    if (this.#finished.size === this.#size?.total) throw memberConflict(this.groupId, taskId, "overflow");
    this.#order.push(taskId);
  }

  #endIfComplete(): void {
    if (this.#isDone || this.#finished.size !== this.#size?.total) return;
    this.#isDone = true;
    this.expiresAt = Date.now() + (this.#size.ttlMs ?? Infinity);
  }

  #conflictWithMembers({ total, memberIds }: GroupSize): Conflict | undefined {
    if (this.#finished.size > total) return "overflow";
    const declaredIds = new Set(memberIds ?? this.#order);
    return this.#order.every((taskId) => declaredIds.has(taskId)) ? undefined : "members";
  }
}

function conflictBetween(present: GroupSize, given: GroupSize): Conflict | undefined {
  if (present.total !== given.total) return "total";
  const isSame = given.memberIds?.every((taskId, index) => taskId === present.memberIds?.[index]) ?? true;
  return isSame ? undefined : "members";
}
