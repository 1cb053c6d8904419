import { Observable, type Subscriber } from "rxjs";
import { BackendClosedError } from "../errors";
import { CatchUp, type LookSource } from "./catch-up";
import { FeedHistory, type Mark } from "./feed-history";
import type { Sweep } from "./sweep";

/** Source of the values of a {@link Feed}. */
export interface FeedSource<T> extends LookSource {
  readonly sweep: Sweep;
  /** Returns the key of a value and the transaction that wrote it. 0 means unknown, and such a value is never new. */
  markOf(value: T): Mark;
  /** Called when the first subscriber arrives (true), and when the last one leaves (false). */
  followAll(isFollowing: boolean): void;
}

/** Circumstances in which a value was read. */
interface Offer {
  /** A notification has announced a value of this key. */
  readonly isAnnounced: boolean;
  /** A read that began later has already found the key. */
  readonly isOvertaken?: boolean;
}

interface Subscription<T> {
  readonly where: (key: string) => boolean;
  readonly subscriber: Subscriber<T>;
}

/** State of a feed while it has subscribers. Discarded when the last one leaves. */
interface Following {
  readonly history: FeedHistory;
  readonly catchUp: CatchUp;
}

/**
 * Emits every value that is committed from now on exactly once, to any number of subscribers. Notifications announce
 * most values. At each sweep, and after an interruption, a {@link CatchUp} finds the rest.
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

  /** Emits the values from now on whose keys satisfy a condition. */
  values$(where: (key: string) => boolean): Observable<T> {
    return new Observable((subscriber) => {
      if (this.#state === "closed") {
        subscriber.error(new BackendClosedError());
        return undefined;
      }
      const subscription = { where, subscriber };
      this.#subscriptions.add(subscription);
      this.#source.sweep.enter();
      // From this moment on nothing is missed.
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
   * Emits a value that was read, if it is new: either the catch-up requested it, or it was announced and the cursor
   * does not include it. Values that were read for other reasons are emitted later, by a notification or the catch-up.
   */
  offer(value: T, { isAnnounced, isOvertaken = false }: Offer): void {
    if (this.#following === undefined) return;
    const { history, catchUp } = this.#following;
    const mark = this.#source.markOf(value);
    const isNew = this.isNew(value, { isAnnounced });
    history.forgetPostponed(mark.key);
    // If a newer value was emitted, emitting this one would make it look like the latest.
    const isLate = history.hasEmitted(mark) || (isOvertaken && history.hasEmittedKey(mark.key));
    if (isNew && !isLate) {
      history.addEmitted(mark);
      this.#emit(mark.key, value);
      catchUp.lookIfMuchWasEmitted();
    }
    catchUp.settle(mark.key);
  }

  /**
   * Emits a value that arrived in its notification, if it is certainly newer than the emitted values of its key.
   * Returns false if the value must be read instead.
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

  /** Returns true if {@link Feed.offer} would emit a value. Used for a value that must not be emitted yet. */
  isNew(value: T, { isAnnounced }: Offer): boolean {
    if (this.#following === undefined) return false;
    const { history, catchUp } = this.#following;
    const mark = this.#source.markOf(value);
    return catchUp.isRequested(mark.key) || history.isPostponed(mark) || (isAnnounced && history.isNews(mark));
  }

  /** Requests the read of a value, which is then emitted wherever the cursor is by then. */
  ask(key: string): void {
    this.#following?.history.expect(key);
    this.#source.readForFeed(key);
  }

  /** Records that nothing is stored under a key any more. */
  miss(key: string): void {
    this.#following?.history.forgetPostponed(key);
    this.#following?.catchUp.settle(key);
  }

  /** Records that keys could not be read at present. */
  giveUp(keys: readonly string[], error: Error): void {
    for (const key of keys) this.#following?.catchUp.settle(key, error);
  }

  /**
   * Records that the server refuses to read a key. Each sweep reads it again, and other values are emitted meanwhile.
   */
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

  /** Errors the present streams and later subscriptions. */
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

/** Tests a key. A condition that throws ends only its own subscription. */
function matches<T>({ where, subscriber }: Subscription<T>, key: string): boolean {
  try {
    return where(key);
  } catch (error) {
    subscriber.error(error);
    return false;
  }
}
