/** A stored value: its key, and the transaction that wrote it. */
export interface Mark {
  readonly key: string;
  readonly xid: number;
}

/** Before every mark. */
export const firstMark: Mark = { key: "", xid: 0 };

/** A moment in the order of commits. */
export interface Moment {
  readonly snapshot: Snapshot;
  /** The server's time, in microseconds since 1970. */
  readonly serverMicros: number;
}

/** Reads what was written, in the order of transactions. */
export interface CommitReader {
  now(): Promise<Moment>;
  /** Reads a page of what was written since a time, in microseconds since 1970, except what bears a time to come. */
  writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]>;
  /** Reads a page of what was committed after one snapshot, and begun before the end of another. */
  committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]>;
}

/**
 * Which transactions had been committed at one moment, from the text `xmin:xmax:xip_list` of `pg_current_snapshot()`
 * (PostgreSQL docs, "Transaction ID and Snapshot Information Functions"). Transaction ids are exact up to 2^53.
 */
export class Snapshot {
  /** The first transaction that had not begun. */
  readonly xmax: number;
  /** The transactions below `xmax` that were under way. */
  readonly running: ReadonlySet<number>;

  constructor(text: string) {
    const [, xmax, running = ""] = text.split(":");
    this.xmax = Number(xmax);
    this.running = new Set(running === "" ? [] : running.split(",").map(Number));
  }

  /** Tells whether what a transaction wrote is visible in this snapshot. */
  includes(xid: number): boolean {
    return xid < this.xmax && !this.running.has(xid);
  }
}
