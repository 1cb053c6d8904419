import type { GroupOptions, UnclaimedOptions } from "../result-backend";
import { checkId, checkInteger, checkTtlMs, typeName } from "../value/arguments";
import type { GroupSize } from "./group-writer";

/** Largest group: its counters are of the type int. */
const maxMembers = 2 ** 31 - 1;

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
