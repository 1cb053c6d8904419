import { crc32 } from "node:zlib";
import type { Subscription } from "@nats-io/transport-node";
import type { NotificationKind } from "../notifications/notifier";
import { channelOf } from "../notifications/payload";
import type { NatsLink } from "./nats-link";

/**
 * Names the subjects of one schema: `<prefix>.<channel>.tasks.<shard>`, `….groups.<shard>` and `….rescan`. Everything
 * published to a shard is published to `….tasks.all` or `….groups.all` as well, in as few messages as possible: a
 * process that waits for much would otherwise receive a message for each shard. Writers and waiters compute the same
 * names.
 */
export class Subjects {
  readonly shards: number;
  /** A message on it asks for everything that is waited for to be read. */
  readonly rescan: string;
  readonly #base: string;

  constructor(prefix: string, schema: string, shards: number) {
    // As in Postgres, a hash stands for the schema, whose name may contain dots, spaces and wildcards.
    this.#base = `${prefix}.${channelOf(schema)}`;
    this.shards = shards;
    this.rescan = `${this.#base}.rescan`;
  }

  shardOf(id: string): number {
    return crc32(id) % this.shards;
  }

  shard(kind: NotificationKind, shard: number): string {
    return `${this.#base}.${kind}.${shard}`;
  }

  all(kind: NotificationKind): string {
    return `${this.#base}.${kind}.all`;
  }

  /** Tells whether a subject belongs to the schema. */
  has(subject: string): boolean {
    return subject.startsWith(`${this.#base}.`);
  }
}

/** The subscription to one subject: how many waits and streams need it, and whether the server has confirmed it. */
export class SubjectSubscription {
  readonly subject: string;
  users = 0;
  /** `pending`: sent to the server and not confirmed. `refused`: the server does not allow it. */
  #state: "none" | "pending" | "confirmed" | "refused" = "none";
  /** Keys whose waits began while the subscription was pending: their first read may have been too early. */
  #pendingKeys: string[] = [];
  #subscription: Subscription | undefined;
  #unusedLooks = 0;

  constructor(subject: string) {
    this.subject = subject;
  }

  get isConfirmed(): boolean {
    return this.#state === "confirmed";
  }

  get isRefused(): boolean {
    return this.#state === "refused";
  }

  /** Subscribes unless subscribed, and returns whether that was sent. `onRefused` is called if the server refuses. */
  subscribe(
    link: Pick<NatsLink, "subscribe">,
    onMessage: (payload: string) => void,
    onRefused: (problem: string) => void,
  ): boolean {
    if (this.#state !== "none") return false;
    this.#state = "pending";
    const subscription = link.subscribe(this.subject, onMessage, (problem) => {
      // A late answer to a subscription that was given up.
      if (this.#subscription !== subscription) return;
      this.#state = "refused";
      this.#subscription = undefined;
      onRefused(problem);
    });
    this.#subscription = subscription;
    return true;
  }

  /** Notes a key whose wait begins now, if its notifications are not received yet. */
  note(key: string): void {
    if (this.#state === "pending") this.#pendingKeys.push(key);
  }

  /** Marks a pending subscription as confirmed. */
  confirm(): void {
    if (this.#state === "pending") this.#state = "confirmed";
  }

  /** Returns the keys noted so far, and forgets them. */
  takeKeys(): readonly string[] {
    return this.#pendingKeys.splice(0);
  }

  /** Returns at how many looks in a row, with this one, the confirmed subscription had no users. */
  look(): number {
    this.#unusedLooks = this.isConfirmed && this.users === 0 ? this.#unusedLooks + 1 : 0;
    return this.#unusedLooks;
  }

  /** Unsubscribes; also used when the connection is gone, where the call has no effect. */
  unsubscribe(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    this.#state = "none";
    this.#pendingKeys = [];
    this.#unusedLooks = 0;
  }
}
