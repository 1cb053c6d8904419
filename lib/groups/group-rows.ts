/** A member that finishes: with a result, or with a failure. */
export interface MemberRow {
  readonly groupId: string;
  readonly taskId: string;
  /** JSON text; null for a failure. */
  readonly result: string | null;
  /** JSON text; null for a success. */
  readonly error: string | null;
}

export interface GroupSize {
  readonly total: number;
  /** In their order; null if they are not named. */
  readonly memberIds: readonly string[] | null;
  /** null: it never expires. */
  readonly ttlMs: number | null;
  /** null: it may stay open for ever. */
  readonly deadlineMs: number | null;
}

/** Why a group was not initialised, or a member not taken. */
export type Conflict = "total" | "members" | "overflow";

/** How many members are then completed, or why it was not taken. */
export type Verdict = readonly [completed: number, conflict: Conflict | null];
