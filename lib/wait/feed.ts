import { Observable } from "rxjs";
import { BackendClosedError } from "../errors";
import type { StoredResult } from "../notify/hint";
import type { Sweep } from "./sweep";

/** A page of what was stored after a time: ids and times, oldest first. */
export type ReadStoredSince = (
  storedAt: number,
  taskId: string,
  limit: number,
) => Promise<readonly { taskId: string; storedAt: number }[]>;

export interface FeedParts {
  readonly sweep: Sweep;
  /** The database's time, in microseconds since 1970. */
  readonly readClock: () => Promise<number>;
  readonly readStoredSince: ReadStoredSince;
  /** Has a result read; it comes back through {@link Feed.offer}. */
  readonly request: (taskId: string) => void;
}

// Transactions end in another order than they write: this much before the newest result seen may still come to light after it.
const marginMicros = 10_000_000;
const pageRows = 1_000;

interface Subscription {
  readonly where: (taskId: string) => boolean;
  readonly next: (stored: StoredResult) => void;
  readonly error: (error: Error) => void;
}

/**
 * Every result that is stored from now on, for any number of subscribers. Hints tell of most; after an interruption, and with each sweep, it reads what was
 * stored since the newest one it has seen, by the database's clock and with a margin, and drops what it has emitted before.
 */
export class Feed {
  readonly #parts: FeedParts;
  readonly #subscriptions = new Set<Subscription>();
  /** What has been emitted within the margin: id to time. Two generations, so that old ones go without being looked at one by one. */
  #recent = new Map<string, number>();
  #lessRecent = new Map<string, number>();
  #generationBegan = 0;
  /** The database's time when the first of the present subscribers came. */
  #began: number | undefined;
  #newest = 0;
  #catchingUp: Promise<void> | undefined;
  #again = false;
  #isClosed = false;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  get subscribers(): number {
    return this.#subscriptions.size;
  }

  results$(where: (taskId: string) => boolean): Observable<StoredResult> {
    return new Observable((subscriber) => {
      if (this.#isClosed) {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      const subscription: Subscription = {
        where,
        next: (stored) => subscriber.next(stored),
        error: (error) => subscriber.error(error),
      };
      this.#subscriptions.add(subscription);
      this.#parts.sweep.enter();
      // The first one sets the time from which on an interruption is made up for.
      if (this.#subscriptions.size === 1) this.catchUp();
      return () => {
        this.#subscriptions.delete(subscription);
        this.#parts.sweep.leave();
        if (this.#subscriptions.size === 0) this.#forget();
      };
    });
  }

  /** Whether anybody here wants to see the result of a task. */
  wants(taskId: string): boolean {
    for (const subscription of this.#subscriptions) if (matches(subscription, taskId)) return true;
    return false;
  }

  /** Emits a result that has been read, unless it has been emitted already, or is an old one that was read for other reasons than a hint. */
  offer(stored: StoredResult, isHinted: boolean): void {
    if (this.#subscriptions.size === 0 || this.#wasEmitted(stored.taskId, stored.storedAt)) return;
    if (!isHinted && !(stored.storedAt > (this.#began ?? Infinity))) return;
    this.#remember(stored.taskId, stored.storedAt);
    for (const subscription of [...this.#subscriptions])
      if (matches(subscription, stored.taskId)) subscription.next(stored);
  }

  /** Looks for results that no hint told of. One look at a time; whoever asks meanwhile gets another after it. */
  catchUp(): void {
    if (this.#subscriptions.size === 0) return;
    if (this.#catchingUp !== undefined) {
      this.#again = true;
      return;
    }
    this.#catchingUp = this.#look()
      // The next sweep, or the next connection, looks again.
      .catch(() => undefined)
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

  async #look(): Promise<void> {
    if (this.#began === undefined) {
      this.#began = await this.#parts.readClock();
      return;
    }
    let page: Awaited<ReturnType<ReadStoredSince>>;
    let last = { taskId: "", storedAt: Math.max(this.#began, this.#newest - marginMicros) };
    do {
      page = await this.#parts.readStoredSince(last.storedAt, last.taskId, pageRows);
      for (const { taskId, storedAt } of page) {
        if (!this.#wasEmitted(taskId, storedAt) && this.wants(taskId)) this.#parts.request(taskId);
      }
      last = page.at(-1) ?? last;
    } while (page.length === pageRows && this.#subscriptions.size > 0);
  }

  #wasEmitted(taskId: string, storedAt: number): boolean {
    return this.#recent.get(taskId) === storedAt || this.#lessRecent.get(taskId) === storedAt;
  }

  #remember(taskId: string, storedAt: number): void {
    this.#newest = Math.max(this.#newest, storedAt);
    if (this.#newest - this.#generationBegan > marginMicros) {
      this.#lessRecent = this.#recent;
      this.#recent = new Map();
      this.#generationBegan = this.#newest;
    }
    this.#recent.set(taskId, storedAt);
  }

  #forget(): void {
    this.#recent = new Map();
    this.#lessRecent = new Map();
    this.#began = undefined;
    this.#newest = 0;
  }
}

/** A condition that throws ends its own subscription, and nothing else. */
function matches({ where, error }: Subscription, taskId: string): boolean {
  try {
    return where(taskId);
  } catch (thrown) {
    error(thrown as Error);
    return false;
  }
}
