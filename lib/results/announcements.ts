import type { PayloadName } from "../notifications/payload";
import type { NotificationPublisher } from "../notifications/notifier";
import type { NotifyMode } from "../options";

/** Tells others, after the commit, what has been stored. */
export interface Announcer {
  announce(name: PayloadName, ids: Iterable<string>): void;
}

/** Tells those who LISTEN. */
export interface ListenerAnnouncer extends Announcer {
  /** Resolves once everything is announced, or dropped. */
  drain(): Promise<void>;
  /** Drops what is to be announced, and announces nothing more. */
  close(): void;
}

/** What was stored in a transaction of the caller's. */
export interface Announcement {
  /** Tasks that have a result now. */
  readonly taskIds?: readonly string[];
  /** Groups that were initialised, or some of whose members finished. */
  readonly groupIds?: readonly string[];
}

/** Who is told of a write after its commit: listeners, unless the write has notified them, and those that use another notifier. */
export class Announcements {
  /** Whether writes notify listeners by themselves. */
  readonly notifies: boolean;
  readonly #listeners: ListenerAnnouncer;
  readonly #publisher: NotificationPublisher | undefined;
  readonly #afterNotified: Announcer | undefined;
  readonly #afterUnnotified: Announcer | undefined;

  constructor(mode: NotifyMode, listeners: ListenerAnnouncer, publisher?: NotificationPublisher) {
    this.notifies = mode === "trigger";
    this.#listeners = listeners;
    this.#publisher = publisher;
    this.#afterNotified = publisher;
    this.#afterUnnotified =
      mode === "off" ? publisher : publisher === undefined ? listeners : both(publisher, listeners);
  }

  /** Announces a write that is committed; undefined if there is nothing more to announce. */
  after({ notified }: { readonly notified: boolean }): Announcer | undefined {
    return notified ? this.#afterNotified : this.#afterUnnotified;
  }

  /** Resolves once everything is announced, or dropped. */
  async drain(): Promise<void> {
    await Promise.all([this.#listeners.drain(), this.#publisher?.drain()]);
  }

  /** Announces nothing more to those who LISTEN. The publisher ends with the channel that it belongs to. */
  close(): void {
    this.#listeners.close();
  }
}

function both(one: Announcer, other: Announcer): Announcer {
  return {
    announce: (name, ids) => {
      const all = [...ids];
      one.announce(name, all);
      other.announce(name, all);
    },
  };
}
