import type { Subscription } from "@nats-io/transport-node";
import { Subject } from "rxjs";
import type { NotificationKind, NotificationSelection, SubscribedKeys } from "../notifications/notifier";
import { KindInterest } from "./kind-interest";
import type { NatsLink } from "./nats-link";
import type { Subjects } from "./subjects";

export interface ShardSelectionParts {
  readonly subjects: Subjects;
  readonly receive: (payload: string) => void;
  /** For a subscription to be confirmed, in milliseconds. */
  readonly confirmTimeoutMs: number;
  /**
   * Everything that is wanted is heard from now on, or `problem` tells why not; called once for a connection, and again when something is refused, or is not any
   * more.
   */
  readonly onSettled: (problem: string | undefined) => void;
  /** All servers of a cluster know by now what the first of its servers had confirmed for a new connection. */
  readonly onSpread: () => void;
}

const kinds: readonly NotificationKind[] = ["tasks", "groups"];
/** A subject that nobody wants any more stays subscribed to for one to two of these: the next wait may be about it. */
const lookIntervalMs = 2_000;
/**
 * A server confirms a subscription before the other servers of its cluster know of it, and nothing tells when they do. What is announced there in between is lost, so what was late is
 * read once more after this time.
 */
const spreadMs = 500;
/** The server may have been told otherwise meanwhile. */
const retryIntervalMs = 10_000;

/** Subscribes to the subjects of what is waited for, and to no others. What is wanted in the same breath is confirmed by one answer of the server. */
export class ShardSelection implements NotificationSelection {
  readonly subscribed$ = new Subject<SubscribedKeys>();
  readonly #parts: ShardSelectionParts;
  readonly #interests: Readonly<Record<NotificationKind, KindInterest>>;
  readonly #subscriptions = new Map<string, Subscription>();
  #link: NatsLink | undefined;
  #cycling: Promise<void> | undefined;
  #hasSettled = false;
  #problem: string | undefined;
  #looking: NodeJS.Timeout | undefined;
  #retrying: NodeJS.Timeout | undefined;
  readonly #spreading = new Set<NodeJS.Timeout>();

  constructor(parts: ShardSelectionParts) {
    this.#parts = parts;
    this.#interests = {
      tasks: new KindInterest("tasks", parts.subjects),
      groups: new KindInterest("groups", parts.subjects),
    };
  }

  follow(kind: NotificationKind, key: string): void {
    this.#interests[kind].follow(key);
    this.#cycle();
  }

  unfollow(kind: NotificationKind, key: string): void {
    if (this.#interests[kind].unfollow(key)) this.#lookLater();
  }

  followAll(kind: NotificationKind): void {
    this.#interests[kind].followAll();
    this.#cycle();
  }

  unfollowAll(kind: NotificationKind): void {
    if (this.#interests[kind].unfollowAll()) this.#lookLater();
  }

  /** Subscribes to all that is wanted, by a new connection. */
  attach(link: NatsLink): void {
    this.detach();
    this.#link = link;
    for (const kind of kinds) this.#interests[kind].attach();
    this.#subscribe(link, this.#parts.subjects.rescan, (problem) => this.#refused(problem));
    this.#cycling = this.#run(link);
  }

  /** The connection is gone, or going. */
  detach(): void {
    this.#link = undefined;
    this.#cycling = undefined;
    this.#hasSettled = false;
    this.#problem = undefined;
    clearTimeout(this.#looking);
    clearTimeout(this.#retrying);
    this.#looking = undefined;
    this.#retrying = undefined;
    for (const timer of this.#spreading) clearTimeout(timer);
    this.#spreading.clear();
    this.#subscriptions.clear();
    for (const kind of kinds) this.#interests[kind].detach();
  }

  /** Ends its subscriptions where others go on with the connection. */
  close(): void {
    for (const subscription of this.#subscriptions.values()) subscription.unsubscribe();
    this.detach();
    this.subscribed$.complete();
  }

  get #hasQueued(): boolean {
    return this.#interests.tasks.hasQueued || this.#interests.groups.hasQueued;
  }

  #cycle(): void {
    if (this.#link !== undefined && this.#cycling === undefined && this.#hasQueued)
      this.#cycling = this.#run(this.#link);
  }

  async #run(link: NatsLink): Promise<void> {
    do {
      // What is wanted in the same breath goes along.
      await Promise.resolve();
      if (link !== this.#link) return;
      for (const kind of kinds) for (const shard of this.#interests[kind].begin()) this.#subscribeTo(link, kind, shard);
      const isConfirmed = await link.confirm(this.#parts.confirmTimeoutMs);
      // Where it is not, the connection is given up, and everything begins anew with the next.
      if (link !== this.#link || !isConfirmed) return;
      this.#confirm(link);
    } while (this.#hasQueued);
    this.#cycling = undefined;
  }

  #confirm(link: NatsLink): void {
    const isFirst = !this.#hasSettled;
    this.#hasSettled = true;
    for (const kind of kinds) {
      const { late, dropped } = this.#interests[kind].confirm();
      this.#unsubscribe(kind, dropped);
      // At first everything that is waited for is read again in any case.
      if (isFirst || (late.keys.length === 0 && !late.isEverything)) continue;
      this.subscribed$.next(late);
      if (link.isClustered) this.#afterSpread(() => this.subscribed$.next(late));
    }
    if (!isFirst) return;
    this.#parts.onSettled(this.#problem);
    if (link.isClustered) this.#afterSpread(this.#parts.onSpread);
  }

  #afterSpread(act: () => void): void {
    const timer = setTimeout(() => {
      this.#spreading.delete(timer);
      act();
    }, spreadMs).unref();
    this.#spreading.add(timer);
  }

  #subscribeTo(link: NatsLink, kind: NotificationKind, shard: number): void {
    this.#subscribe(link, this.#parts.subjects.of(kind, shard), (problem) => {
      this.#interests[kind].refuse(shard);
      this.#refused(problem);
    });
  }

  #subscribe(link: NatsLink, subject: string, onRefused: (problem: string) => void): void {
    const subscription = link.subscribe(subject, this.#parts.receive, (problem) => {
      if (link !== this.#link) return;
      this.#subscriptions.delete(subject);
      onRefused(problem);
    });
    if (subscription !== undefined) this.#subscriptions.set(subject, subscription);
  }

  #unsubscribe(kind: NotificationKind, shards: readonly number[]): void {
    for (const shard of shards) {
      const subject = this.#parts.subjects.of(kind, shard);
      this.#subscriptions.get(subject)?.unsubscribe();
      this.#subscriptions.delete(subject);
    }
  }

  #refused(problem: string): void {
    this.#retrying ??= setTimeout(() => void this.#retry(), retryIntervalMs).unref();
    if (this.#problem !== undefined) return;
    this.#problem = `NATS does not allow to subscribe: ${problem}`;
    if (this.#hasSettled) this.#parts.onSettled(this.#problem);
  }

  /** Tries what was refused once more; if nothing is refused, all is well. */
  async #retry(): Promise<void> {
    const link = this.#link;
    this.#retrying = undefined;
    if (link === undefined) return;
    await this.#cycling;
    if (link !== this.#link) return;
    this.#problem = undefined;
    for (const kind of kinds) this.#interests[kind].retry();
    const { rescan } = this.#parts.subjects;
    if (!this.#subscriptions.has(rescan)) this.#subscribe(link, rescan, (problem) => this.#refused(problem));
    this.#hasSettled = false;
    this.#cycling = this.#run(link);
  }

  #lookLater(): void {
    this.#looking ??= setTimeout(() => this.#look(), lookIntervalMs).unref();
  }

  #look(): void {
    this.#looking = undefined;
    for (const kind of kinds) {
      const { dropped, isMoreIdle } = this.#interests[kind].look();
      this.#unsubscribe(kind, dropped);
      if (isMoreIdle) this.#lookLater();
    }
    this.#cycle();
  }
}
