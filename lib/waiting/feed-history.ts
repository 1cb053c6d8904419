/** A stored value: its key, and the transaction that wrote it. */
export interface Mark {
  readonly key: string;
  readonly xid: number;
}

/**
 * The transactions that had committed at one moment, from the text `xmin:xmax:xip_list` of `pg_current_snapshot()`
 * (PostgreSQL docs, "Transaction ID and Snapshot Information Functions"). Transaction ids are exact up to 2^53.
 */
export class Snapshot {
  /** The first transaction that had not begun. */
  readonly xmax: number;
  /** Transactions below `xmax` that were running. */
  readonly running: ReadonlySet<number>;

  constructor(text: string) {
    const [, xmax, running = ""] = text.split(":");
    this.xmax = Number(xmax);
    this.running = new Set(running === "" ? [] : running.split(",").map(Number));
  }

  /** Tells whether the writes of a transaction are visible in this snapshot. */
  includes(xid: number): boolean {
    return xid < this.xmax && !this.running.has(xid);
  }
}

/** Most keys that are remembered because the server refuses to read them and they must still be emitted. */
const maxPostponed = 10_000;

/**
 * Age of the snapshot from which a look begins. After a crash the server reuses the ids of transactions that it had not
 * flushed. It flushes within three times `wal_writer_delay`, 200 ms by default (PostgreSQL docs, "Asynchronous
 * Commit").
 */
const flushedAfterMs = 2_000;

/** Everything that its snapshot includes has been emitted, or is older than the subscription. */
interface Cursor {
  readonly snapshot: Snapshot;
  /** On the clock of `performance.now()`. */
  readonly takenAt: number;
}

/**
 * Remembers what a feed has emitted, so that it emits each value once: notifications can be repeated, and a look finds
 * values that they announced. A value is identified by its key and its transaction. Transactions do not commit in the
 * order of their ids, so ids are only compared for equality.
 */
export class FeedHistory {
  /** When the first subscriber came, on the clock of `performance.now()`. */
  readonly beganAt = performance.now();
  /** The transaction by key; a set only if there are several. */
  readonly #emitted = new Map<string, number | Set<number>>();
  #size = 0;
  /**
   * Keys whose values must be emitted once they can be read, each with the snapshot up to which they count as emitted.
   */
  readonly #postponed = new Map<string, Snapshot | undefined>();
  #cursor: Cursor | undefined;
  #lookFrom: Cursor | undefined;

  /** Number of values that were emitted since the cursor. */
  get size(): number {
    return this.#size;
  }

  /** Position of the feed; undefined until the first look has ended. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** An earlier cursor, which a server crash cannot undo. The next look begins there. */
  get lookFrom(): Cursor | undefined {
    return this.#lookFrom;
  }

  get postponed(): Iterable<string> {
    return this.#postponed.keys();
  }

  /** Tells whether an announced value is new. Without a cursor, every value is. */
  isNews(mark: Mark): boolean {
    return isAfter(this.#cursor?.snapshot, mark);
  }

  hasEmittedKey(key: string): boolean {
    return this.#emitted.has(key);
  }

  hasEmitted({ key, xid }: Mark): boolean {
    const xids = this.#emitted.get(key);
    return typeof xids === "object" ? xids.has(xid) : xids === xid;
  }

  addEmitted({ key, xid }: Mark): void {
    const xids = this.#emitted.get(key);
    if (typeof xids === "object") xids.add(xid);
    else this.#emitted.set(key, xids === undefined ? xid : new Set([xids, xid]));
    this.#size += 1;
  }

  /** Remembers a key that the server refuses to read, to emit its value later if it is new by the current cursor. */
  postpone(key: string): void {
    if (this.#postponed.size < maxPostponed && !this.#postponed.has(key))
      this.#postponed.set(key, this.#cursor?.snapshot);
  }

  /** Remembers a key whose value must be emitted once it is read, wherever the cursor is. */
  expect(key: string): void {
    this.#postponed.set(key, undefined);
  }

  /** Tells whether a value must be emitted because its key was postponed or expected. */
  isPostponed(mark: Mark): boolean {
    return this.#postponed.has(mark.key) && isAfter(this.#postponed.get(mark.key), mark);
  }

  /** Notes that a key has been read, or has no value. */
  forgetPostponed(key: string): void {
    this.#postponed.delete(key);
  }

  /** Notes that a look has ended. `isContinued`: it began at {@link FeedHistory.lookFrom}. */
  moveOn(to: Cursor, isContinued: boolean): void {
    const cursor = this.#cursor;
    if (cursor === undefined || !isContinued) this.#lookFrom = to;
    else if (to.takenAt - cursor.takenAt >= flushedAfterMs) this.#lookFrom = cursor;
    this.#cursor = to;
    if (this.#lookFrom !== undefined) this.#forgetIncluded(this.#lookFrom.snapshot);
  }

  /** Forgets values that the snapshot of the next look includes, since they cannot be found again. */
  #forgetIncluded(snapshot: Snapshot): void {
    this.#size = 0;
    for (const [key, xids] of this.#emitted) {
      const kept = (typeof xids === "number" ? [xids] : [...xids]).filter((xid) => !snapshot.includes(xid));
      this.#size += kept.length;
      const [only] = kept;
      if (only === undefined) this.#emitted.delete(key);
      else this.#emitted.set(key, kept.length === 1 ? only : new Set(kept));
    }
  }
}

const isAfter = (snapshot: Snapshot | undefined, { xid }: Mark): boolean =>
  snapshot === undefined || (xid > 0 && !snapshot.includes(xid));
