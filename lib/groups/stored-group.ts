import type { GroupProgress } from "../result-backend";

/** A group as it comes from the database. */
export interface StoredGroup {
  readonly progress: GroupProgress;
  /** When it got done, in microseconds since 1970; 0 while it is open. */
  readonly doneAt: number;
  /** The deadline it was given, in milliseconds; null if none. */
  readonly deadlineMs: number | null;
  /** What is left until it expires, in milliseconds; null if it does not. */
  readonly leftMs: number | null;
}

export type GroupRow = [
  groupId: string,
  total: number | null,
  completed: number,
  failed: number,
  doneAt: string | null,
  deadlineMs: string | null,
  leftMs: string | null,
  isOld: boolean,
];

export function toStoredGroup([groupId, total, completed, failed, doneAt, deadlineMs, leftMs]: GroupRow): StoredGroup {
  return {
    progress: { groupId, total, completed, failed, done: doneAt !== null },
    doneAt: Number(doneAt ?? 0),
    deadlineMs: deadlineMs === null ? null : Number(deadlineMs),
    leftMs: leftMs === null ? null : Number(leftMs),
  };
}
