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

/** Who is still to be told of a write once it is committed: those who LISTEN, where its statement said nothing, and those that use another notifier. */
export class Announcements {
  /** Whether statements go without their notification. */
  readonly isSilent: boolean;
  readonly #listeners: ListenerAnnouncer;
  readonly #publisher: NotificationPublisher | undefined;
  readonly #afterLoud: Announcer | undefined;
  readonly #afterSilent: Announcer | undefined;

  constructor(mode: NotifyMode, listeners: ListenerAnnouncer, publisher?: NotificationPublisher) {
    this.isSilent = mode !== "trigger";
    this.#listeners = listeners;
    this.#publisher = publisher;
    this.#afterLoud = publisher;
    this.#afterSilent = mode === "off" ? publisher : publisher === undefined ? listeners : both(publisher, listeners);
  }

  /** Who is to be told of a statement that is committed, and that was, or was not, silent; undefined if nobody is. */
  after(wasSilent: boolean): Announcer | undefined {
    return wasSilent ? this.#afterSilent : this.#afterLoud;
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
