import type { Snapshot } from "./snapshot";

/** A stored value: its key, and the transaction that wrote it. */
export interface Mark {
  readonly key: string;
  readonly xid: number;
}

/** A moment in the order of commits. */
export interface Moment {
  readonly snapshot: Snapshot;
  /** The server's time, in microseconds since 1970. */
  readonly serverMicros: number;
}

/** Reads what was written, in the order of transactions. */
export interface CommitReader {
  now(): Promise<Moment>;
  /** A page of what was written since a time, in microseconds since 1970, without what bears a time that is yet to come. */
  writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]>;
  /** A page of what was committed after one snapshot, and begun before the end of another. */
  committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]>;
}

/** Before every mark. */
export const firstMark: Mark = { key: "", xid: 0 };
