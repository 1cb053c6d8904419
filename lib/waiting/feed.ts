import { Observable, type Subscriber } from "rxjs";
import { BackendClosedError } from "../errors";
import { CatchUp, type LookSource } from "./catch-up";
import { FeedHistory, type Mark } from "./feed-history";
import type { Sweep } from "./sweep";

/** Where the values of a {@link Feed} come from. */
export interface FeedSource<T> extends LookSource {
  readonly sweep: Sweep;
  /** Returns the key of a value and the transaction that wrote it; 0 if that is unknown, and the value is no news. */
  markOf(value: T): Mark;
  /** The first subscriber has come, or the last one has left. */
  followAll(isFollowing: boolean): void;
}

/** How a value came to be read. */
interface Offer {
  /** A notification has announced a value of this key. */
  readonly isAnnounced: boolean;
  /** A read that began later has found the key already. */
  readonly isOvertaken?: boolean;
}

interface Subscription<T> {
  readonly where: (key: string) => boolean;
  readonly subscriber: Subscriber<T>;
}

/** What a feed does for its present subscribers. Their successors get another one. */
interface Following {
  readonly history: FeedHistory;
  readonly catchUp: CatchUp;
}

/**
 * Emits everything that is committed from now on, to any number of subscribers, each value once. Notifications announce
 * most values; with each sweep, and after an interruption, a {@link CatchUp} finds the rest.
 */
export class Feed<T> {
  readonly #source: FeedSource<T>;
  readonly #subscriptions = new Set<Subscription<T>>();
  #state: "idle" | "closed" | Following = "idle";

  constructor(source: FeedSource<T>) {
    this.#source = source;
  }

  get subscribers(): number {
    return this.#subscriptions.size;
  }

  /** The values whose keys pass a condition, from now on. */
  values$(where: (key: string) => boolean): Observable<T> {
    return new Observable((subscriber) => {
      if (this.#state === "closed") {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      const subscription = { where, subscriber };
      this.#subscriptions.add(subscription);
      this.#source.sweep.enter();
      // The first subscriber sets the time from which on nothing is missed.
      if (this.#subscriptions.size === 1) this.#follow();
      return () => {
        this.#subscriptions.delete(subscription);
        this.#source.sweep.leave();
        if (this.#subscriptions.size === 0) this.#unfollow();
      };
    });
  }

  /** Tells whether any subscriber wants what is stored under a key. */
  wants(key: string): boolean {
    for (const subscription of this.#subscriptions) if (matches(subscription, key)) return true;
    return false;
  }

  /**
   * Emits a value that has been read, if it is new: if a look requested it, or if it was announced and the cursor does
   * not include it. Values that were read for other reasons are left to the notification or look to come.
   */
  offer(value: T, { isAnnounced, isOvertaken = false }: Offer): void {
    if (this.#following === undefined) return;
    const { history, catchUp } = this.#following;
    const mark = this.#source.markOf(value);
    const isNew = this.isNew(value, { isAnnounced });
    history.forgetPostponed(mark.key);
    // After a newer value of the key, this one would look like the latest.
    const isLate = history.hasEmitted(mark) || (isOvertaken && history.hasEmittedKey(mark.key));
    if (isNew && !isLate) {
      history.addEmitted(mark);
      this.#emit(mark.key, value);
      catchUp.lookIfMuchWasEmitted();
    }
    catchUp.settle(mark.key);
  }

  /**
   * Emits a value that came with its notification, if it is certainly newer than all that was emitted of its key.
   * Returns false if the value has to be read instead.
   */
  offerUnread(value: T): boolean {
    const mark = this.#source.markOf(value);
    if (this.#following === undefined || !this.wants(mark.key)) return true;
    const { history, catchUp } = this.#following;
    if (history.cursor === undefined || !history.isNews(mark) || history.hasEmittedKey(mark.key)) return false;
    if (catchUp.isRequested(mark.key) || history.isPostponed(mark)) return false;
    this.offer(value, { isAnnounced: true });
    return true;
  }

  /** Tells whether a value would be emitted if it were offered, to ask later for one that is not yet to be seen. */
  isNew(value: T, { isAnnounced }: Offer): boolean {
    if (this.#following === undefined) return false;
    const { history, catchUp } = this.#following;
    const mark = this.#source.markOf(value);
    return catchUp.isRequested(mark.key) || history.isPostponed(mark) || (isAnnounced && history.isNews(mark));
  }

  /** Has a value read, and emits it wherever the cursor is by then. */
  ask(key: string): void {
    this.#following?.history.expect(key);
    this.#source.readForFeed(key);
  }

  /** Nothing is stored under a key any more. */
  miss(key: string): void {
    this.#following?.history.forgetPostponed(key);
    this.#following?.catchUp.settle(key);
  }

  /** Keys could not be read for now. */
  giveUp(keys: readonly string[], error: Error): void {
    for (const key of keys) this.#following?.catchUp.settle(key, error);
  }

  /** The server refuses to read a key: each sweep asks for it again, and the other values go on meanwhile. */
  postpone(key: string): void {
    if (this.wants(key)) this.#following?.history.postpone(key);
    this.#following?.catchUp.settle(key);
  }

  /** Looks for values that no notification announced. */
  catchUp(): void {
    this.#following?.catchUp.look();
  }

  error(error: Error): void {
    for (const { subscriber } of [...this.#subscriptions]) subscriber.error(error);
  }

  /** Errors the streams, and those that are subscribed to later. */
  close(): void {
    this.#following?.catchUp.stop();
    this.#state = "closed";
    this.error(new BackendClosedError());
  }

  get #following(): Following | undefined {
    return typeof this.#state === "string" ? undefined : this.#state;
  }

  #follow(): void {
    this.#source.followAll(true);
    const history = new FeedHistory();
    const catchUp = new CatchUp(this.#source, this, history);
    this.#state = { history, catchUp };
    catchUp.look();
  }

  #unfollow(): void {
    this.#source.followAll(false);
    this.#following?.catchUp.stop();
    if (this.#state !== "closed") this.#state = "idle";
  }

  #emit(key: string, value: T): void {
    for (const subscription of [...this.#subscriptions])
      if (matches(subscription, key)) subscription.subscriber.next(value);
  }
}

/** A condition that throws ends its own subscription, and no other. */
function matches<T>({ where, subscriber }: Subscription<T>, key: string): boolean {
  try {
    return where(key);
  } catch (error) {
    subscriber.error(error);
    return false;
  }
}
