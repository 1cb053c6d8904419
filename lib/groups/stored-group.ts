import type { GroupProgress } from "../result-backend";

/** A group as it comes from the database. */
export interface StoredGroup {
  readonly progress: GroupProgress;
  /** The transaction in which it got done; 0 while it is open, and if it was so before that was recorded. */
  readonly doneXid: number;
  /** The deadline it was given, in milliseconds; null if none. */
  readonly deadlineMs: number | null;
  /** What is left until it expires, in milliseconds; null if it does not. */
  readonly leftMs: number | null;
  /** Time until it is done unless more placeholders of the Rust crate come, in milliseconds; null if it is done, or members are open. */
  readonly settlesMs: number | null;
  /** Whether a placeholder came after a member had finished: then more of them are to be expected. */
  readonly isDeclaredLate: boolean;
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
  doneXid: string | null,
  settlesMs: string | null,
  isDeclaredLate: boolean,
];

export function toStoredGroup(row: GroupRow): StoredGroup {
  const [groupId, total, completed, failed, doneAt, deadlineMs, leftMs, , doneXid, settlesMs, isDeclaredLate] = row;
  return {
    progress: { groupId, total, completed, failed, done: doneAt !== null },
    doneXid: Number(doneXid ?? 0),
    deadlineMs: deadlineMs === null ? null : Number(deadlineMs),
    leftMs: leftMs === null ? null : Number(leftMs),
    settlesMs: settlesMs === null ? null : Number(settlesMs),
    isDeclaredLate,
  };
}
