import { GroupConflictError, GroupFailedError } from "../errors";
import type { GroupOptions, GroupProgress, UnclaimedOptions } from "../result-backend";
import { checkId, checkInteger, checkOptions, checkTtlMs, type OptionNames, typeName } from "../value/arguments";
import { toFailedError } from "../value/failure";
import type { StoredResult } from "../value/decoding";

// Rules for groups that hold wherever groups are stored. sql/0002_groups.sql has the same rules for all writers.

/** The database counts members in columns of the type `int`. */
const maxMembers = 2 ** 31 - 1;

const groupNames: OptionNames<GroupOptions> = { client: true, ttlMs: true, deadlineMs: true };
const limitNames: OptionNames<UnclaimedOptions> = { limit: true };

/** The members and lifetimes that `initGroup` gives to a group. */
export interface GroupSize {
  readonly total: number;
  /** In their declared order; null if only their number is declared. */
  readonly memberIds: readonly string[] | null;
  /** Null if the group never expires. */
  readonly ttlMs: number | null;
  /** Null if the group may stay open forever. */
  readonly deadlineMs: number | null;
}

/** A finished member: its result, or its failure. */
export interface MemberRow {
  readonly groupId: string;
  readonly taskId: string;
  /** JSON text; null for a failure. */
  readonly result: string | null;
  /** JSON text; null for a success. */
  readonly error: string | null;
}

/** The reason why a group was not initialised or a member was not accepted. */
export type Conflict = "total" | "members" | "overflow";

/** The number of completed members afterwards, or the reason why the member was not accepted. */
export type Verdict = readonly [completed: number, conflict: Conflict | null];

/** Checks the arguments of `initGroup`. */
export function toGroupSize(members: unknown, options: GroupOptions, defaultTtlMs: number): GroupSize {
  checkOptions(options, groupNames);
  const { ttlMs = defaultTtlMs, deadlineMs = Infinity } = options;
  checkTtlMs(ttlMs, "ttlMs");
  checkTtlMs(deadlineMs, "deadlineMs");
  return { ...toMembers(members), ttlMs: finiteOrNull(ttlMs), deadlineMs: finiteOrNull(deadlineMs) };
}

function toMembers(members: unknown): Pick<GroupSize, "total" | "memberIds"> {
  if (typeof members === "number") {
    checkInteger(members, "members", 0, maxMembers);
    return { total: members, memberIds: null };
  }
  if (!Array.isArray(members))
    throw new TypeError(`members: expected a number or an array of task ids, got ${typeName(members)}.`);
  const ids = new Set<string>();
  for (const taskId of members as unknown[]) {
    checkId(taskId, "taskId");
    if (ids.has(taskId))
      throw new RangeError(`members: expected each task id once, got ${JSON.stringify(taskId)} twice.`);
    ids.add(taskId);
  }
  return { total: ids.size, memberIds: [...ids] };
}

const finiteOrNull = (durationMs: number): number | null => (durationMs === Infinity ? null : durationMs);

/** Checks the ids of a group and of one of its members. */
export function checkMember(groupId: unknown, taskId: unknown): void {
  checkId(groupId, "groupId");
  checkId(taskId, "taskId");
}

export type OpenGroupsOptions = UnclaimedOptions;

/** Checks the options of `unclaimedGroups` and `openGroups`. */
export function toGroupLimit(options: UnclaimedOptions): number {
  checkOptions(options, limitNames);
  const { limit = 100 } = options;
  checkInteger(limit, "limit", 1, 10_000);
  return limit;
}

/**
 * Decides between two outcomes of a member: a success takes precedence over a failure; otherwise the later outcome
 * wins.
 */
export function winner<Outcome extends Pick<MemberRow, "error">>(earlier: Outcome, later: Outcome): Outcome {
  return earlier.error === null && later.error !== null ? earlier : later;
}

/** Returns the results of a done group. Throws a `GroupFailedError` if a member failed. */
export function resultsOrFailures(groupId: string, members: readonly StoredResult[]): readonly StoredResult[] {
  const failures = members.flatMap(({ taskId, error }) => (error === null ? [] : [toFailedError(taskId, error)]));
  if (failures.length > 0) throw new GroupFailedError(groupId, failures);
  return members;
}

export function isSameProgress(one: GroupProgress, other: GroupProgress): boolean {
  return (
    one.total === other.total &&
    one.completed === other.completed &&
    one.failed === other.failed &&
    one.done === other.done
  );
}

export function initConflict(groupId: string, total: number, conflict: Conflict): GroupConflictError {
  const reasons: Record<Conflict, string> = {
    total: `was initialised before with a total other than ${total}`,
    members: "was initialised before with other members, or has finished members that are not in the list",
    overflow: `has more finished members than its total of ${total}`,
  };
  return new GroupConflictError(groupId, `Group ${groupId} ${reasons[conflict]}.`);
}

export function memberConflict(groupId: string, taskId: string, conflict: Conflict): GroupConflictError {
  return new GroupConflictError(
    groupId,
    conflict === "members"
      ? `Task ${taskId} is not a declared member of group ${groupId}.`
      : `Task ${taskId} cannot join group ${groupId}: all of its members have finished.`,
  );
}
