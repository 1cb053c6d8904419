import type { GroupOptions, UnclaimedOptions } from "../result-backend";
import { checkId, checkInteger, checkTtlMs, typeName } from "../value/arguments";
import type { GroupSize } from "./group-rows";

/** Largest group: its counters are of the type int. */
const maxMembers = 2 ** 31 - 1;

export interface OpenGroupsOptions {
  /** Most groups to give. 1 to 10 000; default 100. */
  readonly limit?: number;
}

/** Checks what was given to `initGroup`. */
export function toGroupSize(
  members: number | readonly string[],
  options: GroupOptions,
  defaultTtlMs: number,
): GroupSize {
  const { ttlMs = defaultTtlMs, deadlineMs = Infinity } = options;
  checkTtlMs(ttlMs, "ttlMs");
  checkTtlMs(deadlineMs, "deadlineMs");
  const memberIds = toMemberIds(members);
  const total = memberIds === null ? (members as number) : memberIds.length;
  return { total, memberIds, ttlMs: finiteOrNull(ttlMs), deadlineMs: finiteOrNull(deadlineMs) };
}

/** Checks what was given to `unclaimedGroups`. */
export function toUnclaimedLimit({ limit = 100 }: UnclaimedOptions): number {
  checkInteger(limit, "limit", 1, 10_000);
  return limit;
}

/** Checks what was given to `openGroups`. */
export function toOpenLimit({ limit = 100 }: OpenGroupsOptions): number {
  checkInteger(limit, "limit", 1, 10_000);
  return limit;
}

function toMemberIds(members: unknown): readonly string[] | null {
  if (typeof members === "number") {
    checkInteger(members, "members", 0, maxMembers);
    return null;
  }
  if (!Array.isArray(members))
    throw new TypeError(`members: expected a number or an array of task ids, got ${typeName(members)}.`);
  const seen = new Set<string>();
  for (const taskId of members as unknown[]) {
    checkId(taskId, "taskId");
    if (seen.has(taskId))
      throw new RangeError(`members: expected each task id once, got ${JSON.stringify(taskId)} twice.`);
    seen.add(taskId);
  }
  return [...seen];
}

const finiteOrNull = (durationMs: number): number | null => (durationMs === Infinity ? null : durationMs);
