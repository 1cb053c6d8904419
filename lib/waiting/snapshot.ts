/**
 * Which transactions had been committed at one moment: what `pg_current_snapshot()` gives, as the text `xmin:xmax:xip_list` (PostgreSQL docs, "Transaction ID and Snapshot
 * Information Functions"). Numbers of transactions are exact here up to 2^53.
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

  /** Whether what a transaction wrote is to be seen in this snapshot. */
  includes(xid: number): boolean {
    return xid < this.xmax && !this.running.has(xid);
  }
}
