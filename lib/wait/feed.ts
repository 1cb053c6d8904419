import { Observable } from "rxjs";
import { isTransient } from "../database/retry";
import { BackendClosedError } from "../errors";
import type { Sweep } from "./sweep";

/** When something was stored, in microseconds since 1970 by the database's clock, and under which key. */
export interface Mark {
  readonly storedAt: number;
  readonly key: string;
}

export interface FeedParts<T> {
  readonly sweep: Sweep;
  /** Told when the first subscriber comes, and when the last one has gone. */
  readonly onObserved?: (isObserved: boolean) => void;
  readonly markOf: (value: T) => Mark;
  /** The database's time, in microseconds since 1970. */
  readonly readClock: () => Promise<number>;
  /** A page of what was stored after a mark, oldest first. */
  readonly readStoredSince: (after: Mark, limit: number) => Promise<readonly Mark[]>;
  /** Has a value read; it comes back through {@link Feed.offer}. */
  readonly request: (key: string) => void;
}

// Transactions end in another order than they write: this much before the newest value seen may still come to light after it.
const marginMicros = 10_000_000;
const pageRows = 1_000;
// What has been emitted is remembered for as long as the margin, and so many of the latest in any case: notifications can be sent again, and forged.
const minRemembered = 10_000;

interface Subscription<T> {
  readonly where: (key: string) => boolean;
  readonly next: (value: T) => void;
  readonly error: (error: Error) => void;
}

/**
 * Everything that is stored from now on, for any number of subscribers. Hints tell of most; after an interruption, and with each sweep, it reads what was
 * stored since the newest value it has seen, by the database's clock and with a margin, and drops what it has emitted before.
 */
export class Feed<T> {
  readonly #parts: FeedParts<T>;
  readonly #subscriptions = new Set<Subscription<T>>();
  /** What has been emitted within the margin, and more: key to time. Two generations, so that old ones go without being looked at one by one. */
  #recent = new Map<string, number>();
  #lessRecent = new Map<string, number>();
  #generationBegan = 0;
  /** The database's time when the first of the present subscribers came; undefined until it is known. */
  #began: number | undefined;
  #subscribedAt = 0;
  /** Whether something was offered before that time was known, and may have been new. */
  #hasPassedOver = false;
  /** Whether notifications have told of everything since the latest look; then what they told of counts as seen. */
  #isUnbroken = false;
  /** What a look has asked for, until it comes. */
  readonly #requested = new Set<string>();
  #hasTried = false;
  /** Counts the times when the last subscriber left: what was begun for those before is of no interest to those after. */
  #era = 0;
  #newest = 0;
  #catchingUp: Promise<void> | undefined;
  #again = false;
  #isClosed = false;

  constructor(parts: FeedParts<T>) {
    this.#parts = parts;
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

  /** Whether anybody here wants to see what is stored under a key. */
  wants(key: string): boolean {
    for (const subscription of this.#subscriptions) if (matches(subscription, key)) return true;
    return false;
  }

  /** Emits a value that has been read, unless it has been emitted already, or is an old one that was read for other reasons than a hint. */
  offer(value: T, isHinted: boolean): void {
    if (this.#subscriptions.size === 0) return;
    const mark = this.#parts.markOf(value);
    const isRequested = this.#requested.delete(mark.key);
    if (this.#wasEmitted(mark)) return;
    if (!isHinted && !isRequested && !(mark.storedAt > this.#horizon())) {
      this.#hasPassedOver ||= this.#began === undefined;
      return;
    }
    this.#remember(mark);
    for (const subscription of [...this.#subscriptions]) if (matches(subscription, mark.key)) subscription.next(value);
  }

  /** A value that was requested is not there: it has been deleted, or has expired. */
  forgo(key: string): void {
    this.#requested.delete(key);
  }

  /** Notifications are not heard, or what they tell of cannot be read: until the next look, what comes says nothing about what does not. */
  interrupt(): void {
    this.#isUnbroken = false;
  }

  /** Looks for values that no hint told of. One look at a time; whoever asks meanwhile gets another after it. */
  catchUp(): void {
    if (this.#subscriptions.size === 0) return;
    if (this.#catchingUp !== undefined) {
      this.#again = true;
      return;
    }
    const era = this.#era;
    this.#catchingUp = this.#look(era)
      .catch((error: unknown) => {
        if (era !== this.#era) return;
        this.interrupt();
        // However long an outage lasts: the next sweep, or the next connection, looks again.
        if (isTransient(error)) this.#parts.sweep.hurry();
        else this.error(error as Error);
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
    const isFirst = !this.#hasTried;
    this.#hasTried = true;
    if (this.#began === undefined) {
      const now = await this.#parts.readClock();
      if (era !== this.#era) return;
      // Back to the moment of subscribing: what was stored while the clock was being read is new. A duration, so the two clocks need not agree.
      this.#began = Math.floor(now - (performance.now() - this.#subscribedAt) * 1_000);
      // Either notifications have told of everything since, or there is another look as soon as they do. But they may have told of a change that turned out to be the end of a group, while
      // it could not be said whether that was new.
      this.#isUnbroken = this.#parts.sweep.isListening;
      if (isFirst && !this.#hasPassedOver) return;
    }
    const asked = [...this.#requested];
    // Before the first page: an interruption while it is being read breaks it again.
    this.#isUnbroken = this.#parts.sweep.isListening;
    let page: readonly Mark[];
    let last: Mark = { storedAt: this.#horizon(), key: "" };
    do {
      page = await this.#parts.readStoredSince(last, pageRows);
      if (era !== this.#era) return;
      for (const mark of page) if (!this.#wasEmitted(mark) && this.wants(mark.key)) this.#request(mark.key);
      last = page.at(-1) ?? last;
    } while (page.length === pageRows);
    this.#newest = Math.max(this.#newest, last.storedAt);
    // What an earlier look asked for and has not got: its reads have failed so far.
    for (const key of asked) if (this.#requested.has(key)) this.#request(key);
  }

  #request(key: string): void {
    this.#requested.add(key);
    this.#parts.request(key);
  }

  /** Up to here everything has been seen, or is none of our business. */
  #horizon(): number {
    return Math.max(this.#began ?? Infinity, this.#newest - marginMicros);
  }

  /** Also if a newer one was: of two reads of a key the older may come last. */
  #wasEmitted({ key, storedAt }: Mark): boolean {
    return (this.#recent.get(key) ?? this.#lessRecent.get(key) ?? -Infinity) >= storedAt;
  }

  #remember({ key, storedAt }: Mark): void {
    if (this.#isUnbroken) this.#newest = Math.max(this.#newest, storedAt);
    if (this.#newest - this.#generationBegan > marginMicros && this.#recent.size >= minRemembered) {
      this.#lessRecent = this.#recent;
      this.#recent = new Map();
      this.#generationBegan = this.#newest;
    }
    this.#recent.set(key, storedAt);
  }

  #forget(): void {
    this.#recent = new Map();
    this.#lessRecent = new Map();
    this.#requested.clear();
    this.#hasTried = false;
    this.#hasPassedOver = false;
    this.#began = undefined;
    this.#newest = 0;
    this.#generationBegan = 0;
    this.#isUnbroken = false;
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
