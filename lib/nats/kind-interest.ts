import type { NotificationKind, SubscribedKeys } from "../notifications/notifier";
import type { Subjects } from "./subjects";

/** Of a subject: `none`: not subscribed to. `queued`: to be, at once. `underWay`: subscribed to, and not yet confirmed. `refused`: the server does not allow it. */
const states = { none: 0, queued: 1, underWay: 2, confirmed: 3, refused: 4 } as const;

/**
 * Who wants more than this share of the shards subscribes to all ids instead: of 30 000 results for 50 processes that each waited for 600 of them, by a message for each
 * shard, 8 100 a second arrived.
 */
const widestShare = 1 / 8;

/**
 * What is wanted of one kind, and how far the subscriptions to it are: a counter for each shard, so that a wait costs nothing, and one more, after them, for those who
 * want everything. Subscribes to nothing itself: what it queues is to be subscribed to and confirmed, and what it drops to be unsubscribed from.
 */
export class KindInterest {
  readonly #kind: NotificationKind;
  readonly #subjects: Subjects;
  readonly #everything: number;
  readonly #counts: Uint32Array;
  readonly #states: Uint8Array;
  /** Shards that somebody wants, and how many of them are too many for a subscription each. */
  #wanted = 0;
  readonly #maxWanted: number;
  /** Whether there are too many, so that everything is wanted. */
  #isWide = false;
  #isAttached = false;
  /** Whether the subscription to everything goes once those to single shards are confirmed. */
  #isNarrowing = false;
  #queued: number[] = [];
  /** Keys of shards that are queued, or under way: somebody may have read too early for what comes, and too late for what is heard. */
  #lateQueued: string[] = [];
  #lateUnderWay: string[] = [];
  /** Shards that nobody wanted at the last look. */
  #idle = new Set<number>();

  constructor(kind: NotificationKind, subjects: Subjects) {
    this.#kind = kind;
    this.#subjects = subjects;
    this.#everything = subjects.shards;
    this.#counts = new Uint32Array(subjects.shards + 1);
    this.#states = new Uint8Array(subjects.shards + 1);
    this.#maxWanted = Math.max(1, Math.floor(subjects.shards * widestShare));
  }

  /** Whether something waits to be subscribed to. */
  get hasQueued(): boolean {
    return this.#queued.length > 0;
  }

  follow(key: string): void {
    const shard = this.#subjects.shardOf(key);
    const count = this.#countOf(shard) + 1;
    this.#counts[shard] = count;
    if (count === 1) this.#wanted += 1;
    if (this.#wanted > this.#maxWanted && !this.#isWide) {
      this.#isWide = true;
      this.followAll();
    }
    if (!this.#isAttached || this.#hearsEverything) return;
    const subject = this.#wantsEverything ? this.#everything : shard;
    this.#want(subject);
    const state = this.#states[subject];
    if (state === states.queued) this.#lateQueued.push(key);
    else if (state === states.underWay) this.#lateUnderWay.push(key);
  }

  /** Tells whether that leaves a subscription without anybody who wants it. */
  unfollow(key: string): boolean {
    const shard = this.#subjects.shardOf(key);
    const isIdle = this.#leave(shard);
    if (this.#countOf(shard) === 0) this.#wanted -= 1;
    // Not before half of them are left: who goes up and down around the limit should not have to change each time.
    if (!this.#isWide || this.#wanted > this.#maxWanted / 2) return isIdle;
    this.#isWide = false;
    return this.unfollowAll() || isIdle;
  }

  followAll(): void {
    this.#counts[this.#everything] = this.#countOf(this.#everything) + 1;
    this.#isNarrowing = false;
    if (this.#isAttached) this.#want(this.#everything);
  }

  /** As {@link KindInterest.unfollow}. */
  unfollowAll(): boolean {
    return this.#leave(this.#everything);
  }

  /** Queues all that is wanted, for a new connection. */
  attach(): void {
    this.detach();
    this.#isAttached = true;
    if (this.#wantsEverything) this.#want(this.#everything);
    else this.#wantShards();
  }

  detach(): void {
    this.#isAttached = false;
    this.#isNarrowing = false;
    this.#states.fill(states.none);
    this.#queued = [];
    this.#lateQueued = [];
    this.#lateUnderWay = [];
    this.#idle.clear();
  }

  /** What is to be subscribed to now. */
  begin(): readonly number[] {
    const queued = this.#queued;
    this.#queued = [];
    for (const shard of queued) this.#states[shard] = states.underWay;
    this.#lateUnderWay = this.#lateQueued;
    this.#lateQueued = [];
    return queued;
  }

  /** All that was begun is heard from now on, but for what was refused. Gives what has to be read once more, and what needs no subscription any more. */
  confirm(): { readonly late: SubscribedKeys; readonly dropped: readonly number[] } {
    const isEverything = this.#states[this.#everything] === states.underWay;
    this.#states.forEach((state, shard) => {
      if (state === states.underWay) this.#states[shard] = states.confirmed;
    });
    const late = { kind: this.#kind, keys: this.#lateUnderWay, isEverything };
    this.#lateUnderWay = [];
    const dropped: number[] = [];
    if (this.#hearsEverything) {
      this.#states.forEach((state, shard) => {
        if (state === states.confirmed && shard !== this.#everything) dropped.push(shard);
      });
    } else if (this.#isNarrowing && !this.hasQueued) {
      this.#isNarrowing = false;
      dropped.push(this.#everything);
    }
    this.#drop(dropped);
    return { late, dropped };
  }

  refuse(shard: number): void {
    this.#states[shard] = states.refused;
    if (shard === this.#everything) this.#wantShards();
  }

  /** Queues what was refused, to try again. */
  retry(): void {
    this.#states.forEach((state, shard) => {
      if (state !== states.refused) return;
      this.#states[shard] = states.none;
      if (this.#countOf(shard) > 0) this.#want(shard);
    });
  }

  /** Gives what nobody has wanted since the last look, to be unsubscribed from, and whether there is reason for another look. */
  look(): { readonly dropped: readonly number[]; readonly isMoreIdle: boolean } {
    const dropped: number[] = [];
    const idle = new Set<number>();
    this.#states.forEach((state, shard) => {
      if (state !== states.confirmed || this.#countOf(shard) > 0) return;
      if (!this.#idle.has(shard)) idle.add(shard);
      else if (shard !== this.#everything) dropped.push(shard);
      else if (!this.#isNarrowing) this.#narrow(dropped);
    });
    this.#idle = idle;
    this.#drop(dropped);
    return { dropped, isMoreIdle: idle.size > 0 };
  }

  /** Not where that is refused: single shards may be allowed. */
  get #wantsEverything(): boolean {
    return this.#countOf(this.#everything) > 0 && this.#states[this.#everything] !== states.refused;
  }

  get #hearsEverything(): boolean {
    return this.#states[this.#everything] === states.confirmed && !this.#isNarrowing;
  }

  /** From everything back to single shards; these first, so that nothing is missed. */
  #narrow(dropped: number[]): void {
    this.#isNarrowing = true;
    this.#wantShards();
    if (this.hasQueued) return;
    this.#isNarrowing = false;
    dropped.push(this.#everything);
  }

  #wantShards(): void {
    this.#counts.forEach((count, shard) => {
      if (count > 0 && shard !== this.#everything) this.#want(shard);
    });
  }

  #want(shard: number): void {
    if (this.#states[shard] !== states.none) return;
    this.#states[shard] = states.queued;
    this.#queued.push(shard);
  }

  #leave(shard: number): boolean {
    const count = this.#countOf(shard) - 1;
    this.#counts[shard] = count;
    return count === 0 && this.#isAttached;
  }

  #drop(shards: readonly number[]): void {
    for (const shard of shards) this.#states[shard] = states.none;
  }

  #countOf(shard: number): number {
    return this.#counts[shard] ?? 0;
  }
}
