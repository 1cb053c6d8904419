import { setImmediate as turn } from "node:timers/promises";
import { BehaviorSubject, type Subscription } from "rxjs";
import { DatabaseError } from "../../lib/errors";
import type { ListenStatus } from "../../lib/notifications/notifier";
import { NoNotifications } from "../../lib/notifications/notification-source";
import type { CommitReader, Moment } from "../../lib/waiting/catch-up";
import { Feed, type FeedSource } from "../../lib/waiting/feed";
import { type Mark, Snapshot } from "../../lib/waiting/feed-history";
import { Sweep } from "../../lib/waiting/sweep";

/** Counts those who need notifications, and always hears them. */
class Notifications extends NoNotifications {
  demands = 0;
  override readonly status$ = new BehaviorSubject<ListenStatus>("listening");

  override demand(): () => void {
    this.demands += 1;
    return () => (this.demands -= 1);
  }
}

interface Row extends Mark {
  readonly writtenAt: number;
}

const compareMarks = (a: Mark, b: Mark): number => a.xid - b.xid || a.key.localeCompare(b.key);
export const news = { isAnnounced: true };

/** A feed over a table in memory, which reads as the statements do. */
export class Bench implements FeedSource<Row>, CommitReader {
  /** The database's time, in microseconds. */
  now$ = 1_700_000_000_000_000;
  readonly table = new Map<string, Row>();
  readonly requested: string[] = [];
  readonly looks: string[] = [];
  readonly notifications = new Notifications();
  readonly sweep = new Sweep(this.notifications, 60_000);
  readonly feed = new Feed<Row>(this);
  /** What each statement waits for, or fails with. */
  gate: Promise<unknown> = Promise.resolve();
  /** How a value that is asked for comes, or does not. */
  answer = (key: string): void => {
    const row = this.table.get(key);
    if (row === undefined) this.feed.miss(key);
    else this.feed.offer(row, { isAnnounced: false });
  };
  #nextXid = 100;
  readonly #open = new Set<number>();

  readonly commits = this;
  readonly markOf = (row: Row): Mark => row;

  readonly followAll = (): void => undefined;
  readonly looked = (): void => undefined;

  readonly readForFeed = (key: string): void => {
    this.requested.push(key);
    queueMicrotask(() => this.answer(key));
  };

  async now(): Promise<Moment> {
    const snapshot = new Snapshot(`0:${this.#nextXid}:${[...this.#open].join(",")}`);
    const serverMicros = this.now$;
    await this.gate;
    return { snapshot, serverMicros };
  }

  async writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]> {
    return this.#page(`time ${micros}`, after, limit, ({ writtenAt }) => writtenAt >= micros && writtenAt <= this.now$);
  }

  async committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]> {
    return this.#page(`after ${after.key}`, after, limit, ({ xid }) => !from.includes(xid) && xid < to.xmax);
  }

  /** Begins a transaction; what it writes is there once it is committed. */
  begin(): { write: (key: string, writtenAt?: number) => void; commit: () => Row[] } {
    const xid = this.#nextXid++;
    const rows: Row[] = [];
    this.#open.add(xid);
    return {
      write: (key, writtenAt = (this.now$ += 1_000)) => void rows.push({ key, xid, writtenAt }),
      commit: () => {
        this.#open.delete(xid);
        for (const row of rows) this.table.set(row.key, row);
        return rows;
      },
    };
  }

  /** Stores a value without announcing it. */
  store(key: string, writtenAt?: number): Row {
    const transaction = this.begin();
    transaction.write(key, writtenAt);
    return transaction.commit()[0] as Row;
  }

  /** Stores a value, and has it read as after a notification. */
  announce(key: string): Row {
    const row = this.store(key);
    this.feed.offer(row, news);
    return row;
  }

  /** From here on statements wait until the function it gives is called. */
  hold(): () => Promise<void> {
    let open = (): void => undefined;
    this.gate = new Promise<void>((resolve) => (open = resolve));
    return async () => {
      open();
      await settle();
    };
  }

  fail(transient = true): void {
    this.gate = Promise.reject(new DatabaseError("no answer", undefined, transient));
    this.gate.catch(() => undefined);
  }

  recover(): void {
    this.gate = Promise.resolve();
  }

  /** Subscribes, and waits until the first look is through. */
  async subscribe(where?: (key: string) => boolean): Promise<Reader> {
    const reader = new Reader(this.feed, where);
    await settle();
    return reader;
  }

  /** What each sweep does. */
  async catchUp(): Promise<void> {
    this.feed.catchUp();
    await settle();
  }

  async #page(name: string, after: Mark, limit: number, isMeant: (row: Row) => boolean): Promise<Mark[]> {
    this.looks.push(name);
    const rows = [...this.table.values()].filter((row) => isMeant(row) && compareMarks(row, after) > 0);
    await this.gate;
    return rows.toSorted(compareMarks).slice(0, limit);
  }
}

export async function settle(): Promise<void> {
  for (let count = 0; count < 10; count += 1) await turn();
}

export class Reader {
  readonly seen: string[] = [];
  readonly errors: unknown[] = [];
  readonly subscription: Subscription;

  constructor(feed: Feed<Row>, where: (key: string) => boolean = () => true) {
    this.subscription = feed.values$(where).subscribe({
      next: ({ key }) => this.seen.push(key),
      error: (error) => this.errors.push(error),
    });
  }
}
