import type { MemberRow, Verdict } from "./group-rows";

/** A group as it is under its lock. */
export interface GroupState {
  readonly total: number | null;
  readonly completed: number;
  readonly failed: number;
  readonly initialised: boolean;
  readonly declared: boolean;
}

/** A member that is there already. */
export interface MemberState {
  readonly isCompleted: boolean;
  readonly isDeclared: boolean;
  /** Its place among those that finished; null while it is open, or was not counted. */
  readonly finishedSeq: string | null;
}

export interface MemberWrite {
  readonly row: MemberRow;
  readonly finishedSeq: string;
}

export interface GroupCount {
  readonly groupId: string;
  /** What to add. */
  readonly completed: number;
  readonly failed: number;
}

export interface Judgement {
  readonly verdicts: readonly Verdict[];
  readonly writes: readonly MemberWrite[];
  /** Of the groups whose counts change. */
  readonly counts: readonly GroupCount[];
}

/** No id has a NUL in it. */
export const memberKey = (groupId: string, taskId: string): string => `${groupId}\0${taskId}`;

/**
 * What becomes of members that finish, as `kojin_finish_members` in sql/0003_triggers.sql decides it. The caller holds the locks of the groups; no pair of group and task is
 * there twice. First completions are numbered one by one; a repeated one is told the number after all of them. A failure does not replace a success.
 */
export function judge(
  rows: readonly MemberRow[],
  states: ReadonlyMap<string, GroupState>,
  members: ReadonlyMap<string, MemberState>,
): Judgement {
  const tallies = new Map([...states].map(([groupId, state]) => [groupId, new Tally(groupId, state)]));
  const told = rows.map((row) => {
    const tally = tallies.get(row.groupId);
    if (tally === undefined) throw new Error(`Group ${row.groupId} was not locked.`);
    return { tally, ...tally.take(row, members.get(memberKey(row.groupId, row.taskId))) };
  });
  return {
    verdicts: told.map(({ tally, completed, conflict }) => [completed ?? tally.completed, conflict]),
    writes: [...tallies.values()].flatMap(({ writes }) => writes),
    counts: [...tallies.values()]
      .map((tally) => tally.count)
      .filter(({ completed, failed }) => completed !== 0 || failed !== 0),
  };
}

interface Taken {
  /** The number that is told; undefined for the one that the group has in the end. */
  readonly completed: number | undefined;
  readonly conflict: Verdict[1];
}

/** One group, while members of it are taken. */
class Tally {
  readonly #groupId: string;
  readonly #state: GroupState;
  readonly writes: MemberWrite[] = [];
  completed: number;
  #failed: number;

  constructor(groupId: string, state: GroupState) {
    this.#groupId = groupId;
    this.#state = state;
    this.completed = state.completed;
    this.#failed = state.failed;
  }

  get count(): GroupCount {
    const { completed, failed } = this.#state;
    return { groupId: this.#groupId, completed: this.completed - completed, failed: this.#failed - failed };
  }

  take(row: MemberRow, member: MemberState | undefined): Taken {
    const conflict = this.#conflictOf(member);
    if (conflict !== null) return { completed: undefined, conflict };
    const finishedSeq = member?.finishedSeq ?? null;
    const isSuccess = row.error === null;
    const wasCompleted = finishedSeq !== null && member?.isCompleted === true;
    if (!isSuccess && wasCompleted) return { completed: undefined, conflict };
    // The sum only grows, and only under the lock: so within a group it is the order of the commits. Whoever succeeds after a failure keeps the place.
    this.writes.push({ row, finishedSeq: finishedSeq ?? String(this.completed + this.#failed + 1) });
    if (wasCompleted) return { completed: undefined, conflict };
    // What finished and is not completed has failed.
    if (finishedSeq !== null) this.#failed -= 1;
    if (isSuccess) this.completed += 1;
    else this.#failed += 1;
    return { completed: isSuccess ? this.completed : undefined, conflict };
  }

  #conflictOf(member: MemberState | undefined): Verdict[1] {
    const { declared, initialised, total } = this.#state;
    if (declared) return member?.isDeclared === true ? null : "members";
    const isNew = (member?.finishedSeq ?? null) === null;
    return isNew && initialised && total !== null && this.completed + this.#failed >= total ? "overflow" : null;
  }
}
