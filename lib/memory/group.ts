import { GroupConflictError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import type { GroupProgress } from "../result-backend";
import { compareBytes } from "../value/byte-order";
import { now } from "./clock";

/** The size of a group, or its members, and its times; checked already. */
export interface GroupPlan {
  readonly members: number | readonly string[];
  readonly ttlMs: number;
  readonly deadlineMs: number;
}

/** What one caller holds of a group: whoever has the latest has the group. */
export interface Hold {
  /** On the clock of `now`. */
  until: number;
}

/** One group: who has finished, and who may act on it. A change that conflicts throws before anything has changed. */
export class MemoryGroup {
  readonly groupId: string;
  /** Times are those of `now`: the deadline while it is open, the end of its time to live once it is done. */
  expiresAt = Infinity;
  deadlineMs = Infinity;
  #ttlMs = Infinity;
  #total: number | null = null;
  #declared: readonly string[] | undefined;
  #isDeclared: ReadonlySet<string> | undefined;
  readonly #finished = new Map<string, StoredResult>();
  readonly #order: string[] = [];
  #completed = 0;
  #isDone = false;
  #hold: Hold | undefined;

  constructor(groupId: string) {
    this.groupId = groupId;
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  get isClaimed(): boolean {
    return this.#hold !== undefined && this.#hold.until > now();
  }

  progress(): GroupProgress {
    const [finished, completed] = [this.#finished.size, this.#completed];
    return {
      groupId: this.groupId,
      total: this.#total,
      completed,
      failed: finished - completed,
      done: this.#isDone,
    };
  }

  init({ members, ttlMs, deadlineMs }: GroupPlan): void {
    const ids = typeof members === "number" ? undefined : members;
    const total = typeof members === "number" ? members : members.length;
    if (this.#total !== null) {
      this.#assertSame(total, ids);
      return;
    }
    this.#assertFits(total, ids);
    this.#total = total;
    this.#declared = ids;
    this.#isDeclared = ids === undefined ? undefined : new Set(ids);
    this.#ttlMs = ttlMs;
    this.deadlineMs = deadlineMs;
    this.expiresAt = now() + deadlineMs;
    this.#settle();
  }

  /** Takes what became of a member; tells how many are completed with it. */
  finish(outcome: StoredResult): number {
    const present = this.#finished.get(outcome.taskId);
    if (present === undefined) this.#assertRoom(outcome.taskId);
    // A success outweighs a failure, whichever comes first.
    if (present?.error === null && outcome.error !== null) return this.#completed;
    if (present === undefined) this.#order.push(outcome.taskId);
    if (outcome.error === null && present?.error !== null) this.#completed += 1;
    this.#finished.set(outcome.taskId, outcome);
    this.#settle();
    return this.#completed;
  }

  /** What became of its members, in the order in which they finished, from the one at `index` on. */
  finishedFrom(index: number): StoredResult[] {
    return this.#outcomesOf(this.#order.slice(index));
  }

  /** What became of its members, in declared order, or else by id. */
  outcomes(): StoredResult[] {
    return this.#outcomesOf(this.#declared ?? [...this.#order].sort(compareBytes));
  }

  claim(leaseMs: number): Hold | undefined {
    if (!this.#isDone || this.isClaimed) return undefined;
    this.#hold = { until: now() + leaseMs };
    return this.#hold;
  }

  /** Makes a claim last for good, unless somebody else has taken it over. */
  keep(hold: Hold): boolean {
    if (this.#hold !== hold) return false;
    hold.until = Infinity;
    return true;
  }

  #outcomesOf(ids: readonly string[]): StoredResult[] {
    return ids.flatMap((id) => this.#finished.get(id) ?? []);
  }

  #settle(): void {
    if (this.#isDone || this.#finished.size !== this.#total) return;
    this.#isDone = true;
    this.expiresAt = now() + this.#ttlMs;
  }

  #assertSame(total: number, ids: readonly string[] | undefined): void {
    if (total !== this.#total)
      throw this.#conflict(`was initialised with ${String(this.#total)} members, not ${total}`);
    const isSame = ids === undefined || ids.every((id, index) => id === this.#declared?.[index]);
    if (!isSame || (total > 0 && ids !== undefined && this.#declared === undefined))
      throw this.#conflict("was initialised with other members");
  }

  #assertFits(total: number, ids: readonly string[] | undefined): void {
    const { size } = this.#finished;
    if (size > total) throw this.#conflict(`has ${size} members that are finished, more than ${total}`);
    const declared = new Set(ids);
    const stray = ids === undefined ? undefined : this.#order.find((id) => !declared.has(id));
    if (stray !== undefined) throw this.#conflict(`has a finished member that is not among the declared: ${stray}`);
  }

  #assertRoom(taskId: string): void {
    if (this.#isDeclared?.has(taskId) === false) throw this.#conflict(`has no member ${taskId}`);
    if (this.#total !== null && this.#finished.size >= this.#total)
      throw this.#conflict(`has ${this.#total} members already, and ${taskId} is none of them`);
  }

  #conflict(clause: string): GroupConflictError {
    return new GroupConflictError(this.groupId, `Group ${this.groupId} ${clause}.`);
  }
}
