import { Observable } from "rxjs";
import { mayPass } from "../database/backend-error";
import { BackendClosedError } from "../errors";
import { type CommitReader, firstMark, type Mark } from "./commits";
import { Emitted } from "./emitted";
import { Requests } from "./requests";
import type { Snapshot } from "./snapshot";
import type { Sweep } from "./sweep";

export interface FeedParts<T> {
  readonly sweep: Sweep;
  /** Told when the first subscriber comes, and when the last one has gone. */
  readonly onObserved?: (isObserved: boolean) => void;
  /** The key of a value, and the transaction that wrote it; 0 if that is not known, and the value is no news. */
  readonly markOf: (value: T) => Mark;
  readonly commits: CommitReader;
  /** Told of each look that fails, and when one succeeds. */
  readonly onLook?: (error?: Error) => void;
  /** Has a value read; it comes back through {@link Feed.offer}, {@link Feed.miss}, {@link Feed.giveUp} or {@link Feed.postpone}. */
  readonly request: (key: string) => void;
}

/** Only keys, so many at once: a transaction that wrote a million rows is sorted for each page anew. */
const pageRows = 20_000;
/** Values that are asked for at once, so that reads of others come in between. */
const maxRequested = 1_000;
/** Once so much is remembered, and twice as much as after the latest look, another one moves the cursor on, though nothing may have been missed. */
const minEmittedToLook = 10_000;
/** Values that are refused, and of which it is remembered that they have yet to be emitted. */
const maxPostponed = 10_000;
/** What two clocks may drift apart, as a share of the time that passes. */
const largestDrift = 0.0005;

/**
 * How much older than the present the snapshot is from which a look begins. A crash of the server takes back what it has not flushed, and numbers of transactions that were rolled back are
 * then given out again, to transactions that a later snapshot would include. The server flushes within three times `wal_writer_delay`, 200 ms by default (PostgreSQL docs, "Asynchronous Commit").
 */
const flushedAfterMs = 2_000;

/** A moment of a feed: everything that its snapshot includes has been emitted, or is older than the subscription. */
interface Cursor {
  readonly snapshot: Snapshot;
  /** On the clock of `performance.now()`. */
  readonly takenAt: number;
}

interface Subscription<T> {
  readonly where: (key: string) => boolean;
  readonly next: (value: T) => void;
  readonly error: (error: Error) => void;
}

/**
 * Emits everything that is committed from now on, to any number of subscribers, each value once. Notifications tell of most. With each sweep, and after an interruption, a look
 * reads what was committed since its cursor, a snapshot, and then moves the cursor on. So neither the length of a transaction nor any clock matters.
 */
export class Feed<T> {
  readonly #parts: FeedParts<T>;
  readonly #subscriptions = new Set<Subscription<T>>();
  readonly #emitted = new Emitted();
  /** Keys that were new when it was too early to emit them. */
  readonly #expected = new Set<string>();
  /** Keys that the server refuses to read at present, each with the cursor of that time. */
  readonly #postponed = new Map<string, Snapshot | undefined>();
  readonly #requests: Requests;
  /** Everything it includes has been emitted, or is older than the subscription. Undefined until the first look is through. */
  #cursor: Snapshot | undefined;
  /** When that was taken, on the clock of `performance.now()`. */
  #cursorTakenAt = 0;
  /** An earlier one, from which the next look begins, which no crash of the server can take back. */
  #lookFrom: Cursor | undefined;
  /** On the clock of `performance.now()`: when the first of the present subscribers came. */
  #subscribedAt = 0;
  /** Counts the times when the last subscriber left: what was begun for those before is of no interest to those after. */
  #era = 0;
  #emittedToLook = minEmittedToLook;
  #catchingUp: Promise<void> | undefined;
  #again = false;
  #isClosed = false;

  constructor(parts: FeedParts<T>) {
    this.#parts = parts;
    this.#requests = new Requests((key) => parts.request(key));
  }

  get subscribers(): number {
    return this.#subscriptions.size;
  }

  /** The values whose keys pass a condition, from now on. */
  values$(where: (key: string) => boolean): Observable<T> {
    return new Observable((subscriber) => {
      if (this.#isClosed) {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      const subscription: Subscription<T> = {
        where,
        next: (value) => subscriber.next(value),
        error: (error) => subscriber.error(error),
      };
      this.#subscriptions.add(subscription);
      this.#parts.sweep.enter();
      // The first one sets the time from which on nothing is missed.
      if (this.#subscriptions.size === 1) {
        this.#parts.onObserved?.(true);
        this.#subscribedAt = performance.now();
        this.catchUp();
      }
      return () => {
        this.#subscriptions.delete(subscription);
        this.#parts.sweep.leave();
        if (this.#subscriptions.size > 0) return;
        this.#parts.onObserved?.(false);
        this.#forget();
      };
    });
  }

  /** Whether any subscriber wants to see what is stored under a key. */
  wants(key: string): boolean {
    for (const subscription of this.#subscriptions) if (matches(subscription, key)) return true;
    return false;
  }

  /**
   * Emits a value that has been read, if it is new. It is if a look asked for it, or if it was announced and the cursor does not include it. Values that were read for other reasons are
   * left to the notification or the look that is to come.
   */
  offer(value: T, { isAnnounced, isOvertaken = false }: { isAnnounced: boolean; isOvertaken?: boolean }): void {
    if (this.#subscriptions.size === 0) return;
    const mark = this.#parts.markOf(value);
    const wasPostponed = this.#isPostponedNews(mark);
    const isRequested = this.#expected.delete(mark.key) || this.#requests.has(mark.key) || wasPostponed;
    try {
      if (!isRequested && !(isAnnounced && this.#isNews(mark))) return;
      // A newer value of the key has been emitted: in the other order it would look as if this one were the latest.
      if (this.#emitted.has(mark) || (isOvertaken && this.#emitted.hasKey(mark.key))) return;
      this.#emitted.add(mark);
      for (const subscription of [...this.#subscriptions])
        if (matches(subscription, mark.key)) subscription.next(value);
      if (this.#emitted.size >= this.#emittedToLook) this.catchUp();
    } finally {
      this.#requests.settle(mark.key);
    }
  }

  /**
   * Emits a value that came with its notification, if it is certain to be newer than all that has been emitted of its key. Tells whether that was so, or nobody wants it; otherwise
   * it has to be read.
   */
  offerUnread(value: T): boolean {
    const mark = this.#parts.markOf(value);
    if (!this.wants(mark.key)) return true;
    if (this.#cursor === undefined || !this.#isNews(mark) || this.#emitted.hasKey(mark.key)) return false;
    if (this.#requests.has(mark.key) || this.#expected.has(mark.key)) return false;
    this.offer(value, { isAnnounced: true });
    return true;
  }

  /** Tells if a value would be emitted if it were offered: of one that is not yet to be seen, to ask for it later. */
  isNew(value: T, { isAnnounced }: { isAnnounced: boolean }): boolean {
    if (this.#subscriptions.size === 0) return false;
    const mark = this.#parts.markOf(value);
    return this.#requests.has(mark.key) || (isAnnounced && this.#isNews(mark));
  }

  /** Has a value read, and emitted wherever the cursor is by now. */
  ask(key: string): void {
    if (this.#subscriptions.size > 0) this.#expected.add(key);
    this.#parts.request(key);
  }

  /** Tells that nothing is stored under a key any more. */
  miss(key: string): void {
    this.#postponed.delete(key);
    this.#requests.settle(key);
  }

  /** Tells that keys could not be read for now. */
  giveUp(keys: readonly string[], error: Error): void {
    for (const key of keys) this.#requests.fail(key, error);
  }

  /** Tells that the server refuses to read a key, which no later look has to find: it is asked for again with each sweep, and the others go on meanwhile. */
  postpone(key: string): void {
    if (this.#postponed.size < maxPostponed && !this.#postponed.has(key) && this.wants(key))
      this.#postponed.set(key, this.#cursor);
    this.#requests.settle(key);
  }

  /** Looks for values that no notification told of. One look at a time; a call meanwhile leads to another one after it. */
  catchUp(): void {
    if (this.#subscriptions.size === 0) return;
    for (const key of this.#postponed.keys()) this.#parts.request(key);
    if (this.#catchingUp !== undefined) {
      this.#again = true;
      return;
    }
    this.#emittedToLook = Infinity;
    const era = this.#era;
    this.#catchingUp = this.#look(era)
      .catch((error: unknown) => {
        if (era !== this.#era) return;
        // The cursor stays where it is. However long an outage lasts: the next sweep, or the next connection, looks again.
        if (!mayPass(error)) {
          this.error(error as Error);
          return;
        }
        this.#parts.onLook?.(error);
        this.#parts.sweep.hurry();
      })
      .finally(() => {
        this.#catchingUp = undefined;
        if (this.#again) {
          this.#again = false;
          this.catchUp();
        }
      });
  }

  error(error: Error): void {
    for (const subscription of [...this.#subscriptions]) subscription.error(error);
  }

  /** Errors the streams; nobody can subscribe from here on. */
  close(): void {
    this.#isClosed = true;
    this.error(new BackendClosedError());
  }

  async #look(era: number): Promise<void> {
    const { commits } = this.#parts;
    const askedAt = performance.now();
    const { snapshot, serverMicros } = await commits.now();
    if (era !== this.#era) return;
    const from = this.#lookFrom;
    const isContinued = from !== undefined && snapshot.xmax >= from.snapshot.xmax;
    if (isContinued) {
      await this.#emitPages(era, async (after) => commits.committedSince(from.snapshot, snapshot, after, pageRows));
    } else {
      // There is no snapshot to begin with, or it is of another server, whose transactions have other numbers: by the time of the rows then, as it was when the cursor was taken.
      // A duration by the local clock, so that the two clocks need not agree.
      const elapsedMs = (performance.now() - (from?.takenAt ?? this.#subscribedAt)) * (1 + largestDrift);
      const since = Math.floor(serverMicros - elapsedMs * 1_000);
      await this.#emitPages(era, async (after) => commits.writtenSince(since, after, pageRows));
    }
    if (era !== this.#era) return;
    this.#parts.onLook?.();
    this.#moveOn(isContinued ? from : undefined, { snapshot, takenAt: askedAt });
    this.#emittedToLook = Math.max(minEmittedToLook, 2 * this.#emitted.size);
  }

  /** A look is through that began from one cursor, if there was one that held, and got to another. */
  #moveOn(from: Cursor | undefined, to: Cursor): void {
    const isFlushed = this.#cursor !== undefined && to.takenAt - this.#cursorTakenAt >= flushedAfterMs;
    if (from === undefined || this.#cursor === undefined) this.#lookFrom = to;
    else this.#lookFrom = isFlushed ? { snapshot: this.#cursor, takenAt: this.#cursorTakenAt } : from;
    this.#cursor = to.snapshot;
    this.#cursorTakenAt = to.takenAt;
    this.#emitted.forget(this.#lookFrom.snapshot);
  }

  async #emitPages(era: number, readPage: (after: Mark) => Promise<readonly Mark[]>): Promise<void> {
    let page: readonly Mark[];
    let last = firstMark;
    do {
      page = await readPage(last);
      if (era !== this.#era) return;
      const keys = page.filter((mark) => !this.#emitted.has(mark) && this.wants(mark.key)).map(({ key }) => key);
      for (let start = 0; start < keys.length && era === this.#era; start += maxRequested)
        await this.#requests.ask(keys.slice(start, start + maxRequested));
      last = page.at(-1) ?? last;
    } while (page.length === pageRows && era === this.#era);
  }

  /** Until there is a cursor, every announcement counts as new. */
  #isNews({ xid }: Mark, cursor = this.#cursor): boolean {
    return cursor === undefined || (xid > 0 && !cursor.includes(xid));
  }

  /** Whether a value was new when the server refused to read it. */
  #isPostponedNews(mark: Mark): boolean {
    if (this.#postponed.size === 0 || !this.#postponed.has(mark.key)) return false;
    const cursor = this.#postponed.get(mark.key);
    this.#postponed.delete(mark.key);
    return cursor === undefined || this.#isNews(mark, cursor);
  }

  #forget(): void {
    this.#emitted.clear();
    this.#requests.cancel();
    this.#expected.clear();
    this.#postponed.clear();
    this.#emittedToLook = minEmittedToLook;
    this.#cursor = undefined;
    this.#lookFrom = undefined;
    this.#era += 1;
  }
}

/** A condition that throws ends its own subscription, and nothing else. */
function matches<T>({ where, error }: Subscription<T>, key: string): boolean {
  try {
    return where(key);
  } catch (thrown) {
    error(thrown as Error);
    return false;
  }
}
