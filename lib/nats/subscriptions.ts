import type { Subscription } from "@nats-io/transport-node";
import { Subject } from "rxjs";
import type { NotificationKind, NotificationSelection, SubscribedKeys } from "../notifications/notifier";
import { rescanPayload } from "../notifications/payload";
import type { NatsLink } from "./nats-connection";
import type { Subjects } from "./options";

/**
 * A process that needs more than this share of the shards subscribes to all ids instead. With 50 processes that each
 * waited for 600 of 30 000 results, a message for each shard meant 8 100 messages per second.
 */
const maxShare = 1 / 8;
/** Longest time for the server to confirm a subscription, longer than any usual round trip. */
const confirmTimeoutMs = 5_000;
/** A subject without users stays subscribed for one to two such intervals, since the next wait may need it. */
const lookIntervalMs = 2_000;
/**
 * A server confirms a subscription before the other servers of its cluster know of it. Messages published there in
 * between are lost, so new keys are read once more after this time.
 */
const spreadMs = 500;
/** Delay before refused subscriptions are tried again, since permissions may have changed. */
const retryIntervalMs = 10_000;

/** Methods of {@link NatsLink} that are used here. */
export type SubscribingLink = Pick<NatsLink, "subscribe" | "confirm" | "isClustered">;

/** Subscribes only to the subjects that are needed. One answer of the server confirms all subscriptions of one turn. */
export class NatsSubscriptions implements NotificationSelection {
  readonly subscribed$ = new Subject<SubscribedKeys>();
  /**
   * Emits once all needed subscriptions on a new connection are settled, and at each change: `undefined`, or the
   * problem if the server refused one.
   */
  readonly settled$ = new Subject<string | undefined>();
  readonly #receive: (payload: string) => void;
  readonly #kinds: Readonly<Record<NotificationKind, KindSubscriptions>>;
  readonly #rescan: SubjectSubscription;
  #link: SubscribingLink | undefined;
  /** Subscriptions that the pending confirmation does not cover. */
  #sent: SubjectSubscription[] = [];
  #isConfirming = false;
  #hasSettled = false;
  #problem: string | undefined;
  #looking: NodeJS.Timeout | undefined;
  #retrying: NodeJS.Timeout | undefined;
  readonly #spreading = new Set<NodeJS.Timeout>();

  constructor(subjects: Subjects, receive: (payload: string) => void) {
    this.#receive = receive;
    this.#rescan = new SubjectSubscription(subjects.rescan);
    this.#kinds = {
      tasks: new KindSubscriptions("tasks", subjects, this),
      groups: new KindSubscriptions("groups", subjects, this),
    };
  }

  follow(kind: NotificationKind, key: string): void {
    this.#kinds[kind].follow(key);
  }

  unfollow(kind: NotificationKind, key: string): void {
    this.#kinds[kind].unfollow(key);
    this.#lookLater();
  }

  followAll(kind: NotificationKind): void {
    this.#kinds[kind].followAll();
  }

  unfollowAll(kind: NotificationKind): void {
    this.#kinds[kind].unfollowAll();
    this.#lookLater();
  }

  /** Subscribes to all needed subjects on a new connection. */
  attach(link: SubscribingLink): void {
    this.detach();
    this.#link = link;
    this.subscribe(this.#rescan);
    for (const kind of this.#each) kind.attach();
  }

  /** Ends all subscriptions; the connection may be gone. */
  detach(): void {
    this.#link = undefined;
    this.#sent = [];
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

  /** Subscribes to a subject, unless it is subscribed or there is no connection. */
  subscribe(subject: SubjectSubscription, onRefused: () => void = () => undefined): void {
    const link = this.#link;
    if (link === undefined || subject.state !== "none") return;
    subject.state = "pending";
    const subscription = link.subscribe(subject.name, this.#receive, (problem) => {
      // A late answer for a subscription that has ended.
      if (subject.subscription !== subscription) return;
      subject.state = "refused";
      subject.subscription = undefined;
      onRefused();
      this.#refused(problem);
    });
    subject.subscription = subscription;
    this.#sent.push(subject);
    if (!this.#isConfirming) void this.#confirm(link);
  }

  get #each(): readonly KindSubscriptions[] {
    return [this.#kinds.tasks, this.#kinds.groups];
  }

  /** Asks the server for confirmations until everything sent is confirmed. */
  async #confirm(link: SubscribingLink): Promise<void> {
    this.#isConfirming = true;
    while (this.#sent.length > 0) {
      // Includes what is sent in the same turn.
      await Promise.resolve();
      if (link !== this.#link) return;
      const sent = this.#sent;
      this.#sent = [];
      const isConfirmed = await link.confirm(confirmTimeoutMs);
      // Without a confirmation the connection is lost, and the next one starts again.
      if (link !== this.#link || !isConfirmed) return;
      this.#settle(link, sent);
    }
    this.#isConfirming = false;
  }

  #settle(link: SubscribingLink, sent: readonly SubjectSubscription[]): void {
    const isFirst = !this.#hasSettled;
    this.#hasSettled = true;
    for (const kind of this.#each) {
      const late = kind.confirm(sent);
      // After the first confirmation all pending keys are read again anyway.
      if (isFirst || (late.keys.length === 0 && !late.isEverything)) continue;
      this.subscribed$.next(late);
      if (link.isClustered) this.#afterSpread(() => this.subscribed$.next(late));
    }
    if (!isFirst) return;
    this.settled$.next(this.#problem);
    if (link.isClustered) this.#afterSpread(() => this.#receive(rescanPayload));
  }

  #afterSpread(act: () => void): void {
    const timer = setTimeout(() => {
      this.#spreading.delete(timer);
      act();
    }, spreadMs).unref();
    this.#spreading.add(timer);
  }

  /** Records that the server does not allow a subscription. */
  #refused(problem: string): void {
    this.#retryLater();
    if (this.#problem !== undefined) return;
    this.#problem = `NATS does not allow subscribing: ${problem}`;
    if (this.#hasSettled) this.settled$.next(this.#problem);
  }

  /** Subscribes to everything again after a while. If nothing is refused then, the problem is gone. */
  #retryLater(): void {
    this.#retrying ??= setTimeout(() => {
      this.#retrying = undefined;
      if (this.#isConfirming) this.#retryLater();
      else if (this.#link !== undefined) this.attach(this.#link);
    }, retryIntervalMs).unref();
  }

  #lookLater(): void {
    if (this.#link === undefined) return;
    this.#looking ??= setTimeout(() => {
      this.#looking = undefined;
      const isDue = this.#each.map((kind) => kind.look());
      if (isDue.includes(true)) this.#lookLater();
    }, lookIntervalMs).unref();
  }
}

/** Subscriptions for one kind of key: either to single shards, or to all of them. */
class KindSubscriptions {
  readonly #kind: NotificationKind;
  readonly #subjects: Subjects;
  readonly #owner: NatsSubscriptions;
  readonly #shards = new Map<number, SubjectSubscription>();
  readonly #all: SubjectSubscription;
  readonly #maxUsedShards: number;
  #usedShards = 0;
  /** True if too many shards are used for separate subscriptions. */
  #isWide = false;
  /** True while the subscription to all shards replaces those to single shards. */
  #usesAll = false;

  constructor(kind: NotificationKind, subjects: Subjects, owner: NatsSubscriptions) {
    this.#kind = kind;
    this.#subjects = subjects;
    this.#owner = owner;
    this.#all = new SubjectSubscription(subjects.all(kind), kind);
    this.#maxUsedShards = Math.max(1, Math.floor(subjects.shards * maxShare));
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
    // Switches back only at half the limit, so that a number close to the limit does not switch repeatedly.
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

  attach(): void {
    if (this.#all.users > 0) this.#useAll();
    else this.#useShards();
  }

  detach(): void {
    this.#usesAll = false;
    for (const subject of this.#each) subject.unsubscribe();
  }

  /** Notes that the server has confirmed everything sent. Returns the keys that must be read once more. */
  confirm(sent: readonly SubjectSubscription[]): SubscribedKeys {
    const confirmed = sent.filter(({ kind }) => kind === this.#kind);
    for (const subject of confirmed) if (subject.state === "pending") subject.state = "confirmed";
    const keys = confirmed.flatMap((subject) => subject.keys.splice(0));
    const isEverything = confirmed.includes(this.#all) && this.#all.state === "confirmed";
    this.#dropReplaced();
    return { kind: this.#kind, keys, isEverything };
  }

  /** Drops subscriptions that had no users at two successive checks. Returns true if another check is needed. */
  look(): boolean {
    let isDue = false;
    for (const subject of this.#each) {
      subject.unusedLooks = subject.state === "confirmed" && subject.users === 0 ? subject.unusedLooks + 1 : 0;
      if (subject.unusedLooks === 1) isDue = true;
      if (subject.unusedLooks === 2) this.#drop(subject);
    }
    return isDue;
  }

  get #each(): readonly SubjectSubscription[] {
    return [this.#all, ...this.#shards.values()];
  }

  #drop(subject: SubjectSubscription): void {
    if (subject !== this.#all) subject.unsubscribe();
    else if (this.#usesAll) {
      this.#useShards();
      this.#dropReplaced();
    }
  }

  #useAll(): void {
    this.#subscribe(this.#all);
    this.#usesAll = this.#all.state === "pending" || this.#all.state === "confirmed";
  }

  #useShards(): void {
    this.#usesAll = false;
    for (const shard of this.#shards.values()) if (shard.users > 0) this.#subscribe(shard);
  }

  /** Ends replaced subscriptions. Called only once their replacement is confirmed, so that nothing is missed. */
  #dropReplaced(): void {
    if (this.#all.state !== "confirmed") return;
    const shards = [...this.#shards.values()];
    if (this.#usesAll) for (const shard of shards) if (shard.state === "confirmed") shard.unsubscribe();
    if (!this.#usesAll && !shards.some(({ state }) => state === "pending")) this.#all.unsubscribe();
  }

  /** The server may allow single shards but not the subject for all. */
  #subscribe(subject: SubjectSubscription): void {
    this.#owner.subscribe(subject, () => {
      if (subject !== this.#all) return;
      this.#useShards();
      for (const key of subject.keys.splice(0)) this.#shardOf(key).note(key);
    });
  }

  #shardOf(key: string): SubjectSubscription {
    const number = this.#subjects.shardOf(key);
    let shard = this.#shards.get(number);
    if (shard === undefined) {
      shard = new SubjectSubscription(this.#subjects.shard(this.#kind, number), this.#kind);
      this.#shards.set(number, shard);
    }
    return shard;
  }
}

/** Subscription to one subject, with the number of waits and streams that need it. */
class SubjectSubscription {
  readonly name: string;
  readonly kind: NotificationKind | undefined;
  users = 0;
  /** Number of successive checks at which the confirmed subscription had no users. */
  unusedLooks = 0;
  /** `pending`: sent to the server and not confirmed. `refused`: the server does not allow it. */
  state: "none" | "pending" | "confirmed" | "refused" = "none";
  /** Keys whose waits began while the subscription was pending: their first read may have been too early. */
  keys: string[] = [];
  subscription: Subscription | undefined;

  constructor(name: string, kind?: NotificationKind) {
    this.name = name;
    this.kind = kind;
  }

  /** Remembers a key whose wait begins now, if its notifications are not received yet. */
  note(key: string): void {
    if (this.state === "pending") this.keys.push(key);
  }

  /** Unsubscribes; also used when the connection is gone, where the call has no effect. */
  unsubscribe(): void {
    this.subscription?.unsubscribe();
    this.subscription = undefined;
    this.state = "none";
    this.keys = [];
    this.unusedLooks = 0;
  }
}
