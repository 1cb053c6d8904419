import { Subject } from "rxjs";
import type { NotificationKind, NotificationSelection, SubscribedKeys } from "../notifications/notifier";
import { rescanPayload } from "../notifications/payload";
import type { NatsLink } from "./nats-link";
import { type Subjects, SubjectSubscription } from "./subjects";

/**
 * A process that needs more than this share of the shards subscribes to all ids instead: of 30 000 results for 50
 * processes that each waited for 600 of them, a message for each shard meant 8 100 messages a second.
 */
const maxShare = 1 / 8;
/** For the server to confirm a subscription: longer than any usual round trip. */
const confirmTimeoutMs = 5_000;
/** A subject without users stays subscribed for one to two of these: the next wait may need it. */
const lookIntervalMs = 2_000;
/**
 * A server confirms a subscription before the other servers of its cluster know of it, and nothing tells when they do.
 * What is published there in between is lost, so keys that began late are read once more after this time.
 */
const spreadMs = 500;
/** Delay before refused subscriptions are tried again: permissions may have changed. */
const retryIntervalMs = 10_000;

/** The part of a {@link NatsLink} that is used here. */
export type SubscribingLink = Pick<NatsLink, "subscribe" | "confirm" | "isClustered">;

/**
 * Subscribes to the subjects that are needed, and to no others. One answer of the server confirms all sent in one turn.
 */
export class NatsSubscriptions implements NotificationSelection {
  readonly subscribed$ = new Subject<SubscribedKeys>();
  /**
   * Emits once everything needed is subscribed to on a new connection, and whenever that changes: `undefined`, or the
   * problem if the server refused something.
   */
  readonly settled$ = new Subject<string | undefined>();
  readonly receive: (payload: string) => void;
  readonly #kinds: Readonly<Record<NotificationKind, KindSubscriptions>>;
  readonly #rescan: SubjectSubscription;
  #link: SubscribingLink | undefined;
  #isConfirming = false;
  #hasSettled = false;
  #problem: string | undefined;
  #looking: NodeJS.Timeout | undefined;
  #retrying: NodeJS.Timeout | undefined;
  readonly #spreading = new Set<NodeJS.Timeout>();

  constructor(subjects: Subjects, receive: (payload: string) => void) {
    this.receive = receive;
    this.#rescan = new SubjectSubscription(subjects.rescan);
    this.#kinds = {
      tasks: new KindSubscriptions("tasks", subjects, this),
      groups: new KindSubscriptions("groups", subjects, this),
    };
  }

  follow(kind: NotificationKind, key: string): void {
    this.#kinds[kind].follow(key);
    this.#confirmSent();
  }

  unfollow(kind: NotificationKind, key: string): void {
    this.#kinds[kind].unfollow(key);
    this.#lookLater();
  }

  followAll(kind: NotificationKind): void {
    this.#kinds[kind].followAll();
    this.#confirmSent();
  }

  unfollowAll(kind: NotificationKind): void {
    this.#kinds[kind].unfollowAll();
    this.#lookLater();
  }

  /** Subscribes to everything needed, on a new connection. */
  attach(link: SubscribingLink): void {
    this.detach();
    this.#link = link;
    this.#rescan.subscribe(link, this.receive, (problem) => this.refused(problem));
    for (const kind of this.#each) kind.attach(link);
    this.#isConfirming = true;
    void this.#confirm(link);
  }

  /** Ends all subscriptions; the connection may be gone. */
  detach(): void {
    this.#link = undefined;
    this.#isConfirming = false;
    this.#hasSettled = false;
    this.#problem = undefined;
    for (const timer of [this.#looking, this.#retrying, ...this.#spreading]) clearTimeout(timer);
    this.#looking = undefined;
    this.#retrying = undefined;
    this.#spreading.clear();
    this.#rescan.unsubscribe();
    for (const kind of this.#each) kind.detach();
  }

  close(): void {
    this.detach();
    this.subscribed$.complete();
    this.settled$.complete();
  }

  /** The server does not allow a subscription. */
  refused(problem: string): void {
    this.#retrying ??= setTimeout(() => this.#retry(), retryIntervalMs).unref();
    this.#confirmSent();
    if (this.#problem !== undefined) return;
    this.#problem = `NATS does not allow subscribing: ${problem}`;
    if (this.#hasSettled) this.settled$.next(this.#problem);
  }

  get #each(): readonly KindSubscriptions[] {
    return [this.#kinds.tasks, this.#kinds.groups];
  }

  get #hasSent(): boolean {
    return this.#kinds.tasks.hasSent || this.#kinds.groups.hasSent;
  }

  #confirmSent(): void {
    if (this.#link === undefined || this.#isConfirming || !this.#hasSent) return;
    this.#isConfirming = true;
    void this.#confirm(this.#link);
  }

  async #confirm(link: SubscribingLink): Promise<void> {
    do {
      // What is sent in the same turn goes along.
      await Promise.resolve();
      if (link !== this.#link) return;
      for (const kind of this.#each) kind.beginConfirmation();
      const isConfirmed = await link.confirm(confirmTimeoutMs);
      // Without a confirmation the connection is lost, and the next one begins anew.
      if (link !== this.#link || !isConfirmed) return;
      this.#settle(link);
    } while (this.#hasSent);
    this.#isConfirming = false;
  }

  #settle(link: SubscribingLink): void {
    const isFirst = !this.#hasSettled;
    this.#hasSettled = true;
    for (const kind of this.#each) {
      const late = kind.endConfirmation();
      // After the first confirmation everything that is waited for is read again in any case.
      if (isFirst || (late.keys.length === 0 && !late.isEverything)) continue;
      this.subscribed$.next(late);
      if (link.isClustered) this.#afterSpread(() => this.subscribed$.next(late));
    }
    if (!isFirst) return;
    this.settled$.next(this.#problem);
    if (link.isClustered) this.#afterSpread(() => this.receive(rescanPayload));
  }

  #afterSpread(act: () => void): void {
    const timer = setTimeout(() => {
      this.#spreading.delete(timer);
      act();
    }, spreadMs).unref();
    this.#spreading.add(timer);
  }

  /** Subscribes anew: if nothing is refused any more, all is well. */
  #retry(): void {
    this.#retrying = undefined;
    const link = this.#link;
    if (link === undefined) return;
    if (this.#isConfirming) this.#retrying = setTimeout(() => this.#retry(), retryIntervalMs).unref();
    else this.attach(link);
  }

  #lookLater(): void {
    if (this.#link !== undefined) this.#looking ??= setTimeout(() => this.#look(), lookIntervalMs).unref();
  }

  #look(): void {
    this.#looking = undefined;
    const isDue = this.#each.map((kind) => kind.look());
    if (isDue.includes(true)) this.#lookLater();
    this.#confirmSent();
  }
}

/** The subscriptions of one kind: those to single shards, or the one to everything. */
class KindSubscriptions {
  readonly #kind: NotificationKind;
  readonly #subjects: Subjects;
  readonly #owner: NatsSubscriptions;
  readonly #shards = new Map<number, SubjectSubscription>();
  readonly #all: SubjectSubscription;
  readonly #maxUsedShards: number;
  #usedShards = 0;
  /** True if more shards are used than are worth a subscription each. */
  #isWide = false;
  /** True while the subscription to everything stands in for those to single shards. */
  #usesAll = false;
  #link: SubscribingLink | undefined;
  /** Subscriptions sent to the server: after the confirmation under way was asked for, and before it. */
  #sent: SubjectSubscription[] = [];
  #confirming: SubjectSubscription[] = [];

  constructor(kind: NotificationKind, subjects: Subjects, owner: NatsSubscriptions) {
    this.#kind = kind;
    this.#subjects = subjects;
    this.#owner = owner;
    this.#all = new SubjectSubscription(subjects.all(kind));
    this.#maxUsedShards = Math.max(1, Math.floor(subjects.shards * maxShare));
  }

  /** True if subscriptions were sent that no confirmation under way covers. */
  get hasSent(): boolean {
    return this.#sent.length > 0;
  }

  follow(key: string): void {
    const shard = this.#shardOf(key);
    shard.users += 1;
    if (shard.users === 1) this.#usedShards += 1;
    if (!this.#isWide && this.#usedShards > this.#maxUsedShards) {
      this.#isWide = true;
      this.followAll();
    }
    const subject = this.#usesAll ? this.#all : shard;
    this.#subscribe(subject);
    subject.note(key);
  }

  unfollow(key: string): void {
    const shard = this.#shardOf(key);
    shard.users -= 1;
    if (shard.users === 0) this.#usedShards -= 1;
    // Not before half of them are left, so that a number that hovers around the limit does not switch each time.
    if (!this.#isWide || this.#usedShards > this.#maxUsedShards / 2) return;
    this.#isWide = false;
    this.unfollowAll();
  }

  followAll(): void {
    this.#all.users += 1;
    this.#useAll();
  }

  unfollowAll(): void {
    this.#all.users -= 1;
  }

  attach(link: SubscribingLink): void {
    this.#link = link;
    if (this.#all.users > 0) this.#useAll();
    else this.#useShards();
  }

  detach(): void {
    this.#link = undefined;
    this.#usesAll = false;
    this.#sent = [];
    this.#confirming = [];
    for (const subject of [this.#all, ...this.#shards.values()]) subject.unsubscribe();
  }

  /** A confirmation is asked for: it covers everything sent so far. */
  beginConfirmation(): void {
    this.#confirming = this.#sent;
    this.#sent = [];
  }

  /** The server has confirmed. Returns what must be read once more. */
  endConfirmation(): SubscribedKeys {
    const confirmed = this.#confirming;
    this.#confirming = [];
    for (const subject of confirmed) subject.confirm();
    const keys = confirmed.flatMap((subject) => subject.takeKeys());
    const isEverything = confirmed.includes(this.#all) && this.#all.isConfirmed;
    this.#dropReplaced();
    return { kind: this.#kind, keys, isEverything };
  }

  /** Drops what had no users at two looks. Returns whether another look is due. */
  look(): boolean {
    let isDue = false;
    for (const subject of [this.#all, ...this.#shards.values()]) {
      const looks = subject.look();
      if (looks === 1) isDue = true;
      if (looks === 2) this.#drop(subject);
    }
    return isDue;
  }

  #drop(subject: SubjectSubscription): void {
    if (subject !== this.#all) subject.unsubscribe();
    else if (this.#usesAll) {
      this.#useShards();
      this.#dropReplaced();
    }
  }

  #useAll(): void {
    if (this.#link === undefined || this.#all.isRefused) return;
    this.#usesAll = true;
    this.#subscribe(this.#all);
  }

  #useShards(): void {
    this.#usesAll = false;
    for (const shard of this.#shards.values()) if (shard.users > 0) this.#subscribe(shard);
  }

  /** Ends what was used before. Only now that its replacement is confirmed, so that nothing is missed. */
  #dropReplaced(): void {
    if (!this.#usesAll) {
      if (this.#all.isConfirmed && this.#sent.length + this.#confirming.length === 0) this.#all.unsubscribe();
    } else if (this.#all.isConfirmed) {
      for (const shard of this.#shards.values()) if (shard.isConfirmed) shard.unsubscribe();
    }
  }

  #subscribe(subject: SubjectSubscription): void {
    if (this.#link === undefined) return;
    const { receive } = this.#owner;
    const isSent = subject.subscribe(this.#link, receive, (problem) => this.#refused(subject, problem));
    if (isSent) this.#sent.push(subject);
  }

  /** Single shards may be allowed where everything is not. */
  #refused(subject: SubjectSubscription, problem: string): void {
    if (subject === this.#all) {
      this.#useShards();
      for (const key of subject.takeKeys()) this.#shardOf(key).note(key);
    }
    this.#owner.refused(problem);
  }

  #shardOf(key: string): SubjectSubscription {
    const number = this.#subjects.shardOf(key);
    let shard = this.#shards.get(number);
    if (shard === undefined) {
      shard = new SubjectSubscription(this.#subjects.shard(this.#kind, number));
      this.#shards.set(number, shard);
    }
    return shard;
  }
}
