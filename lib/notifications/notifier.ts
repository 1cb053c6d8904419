import type { Observable } from "rxjs";
import type { Logger } from "../logger";
import type { Notification, PayloadName } from "./payload";

/** The entry `kojin-postgres/notifier`: the types that a carrier of notifications implements. */
export type { Notification, PayloadName } from "./payload";
export type { StoredResult } from "../value/decoding";

/**
 * State of the notifications of this process. `idle`: nothing was waited for yet. `connecting`: LISTEN is being set up.
 * `listening`: the server has confirmed it. `polling`: LISTEN is refused, does not work or is being retried, so waits
 * read every second. `closed`: by `close()`.
 */
export type ListenStatus = "idle" | "connecting" | "listening" | "polling" | "closed";

export interface ListenReport {
  readonly status: ListenStatus;
  /** Number of connections lost, or given up because nothing arrived on them. */
  readonly reconnects: number;
  /** Time of the latest heartbeat from the pool to the listener, in milliseconds; undefined before the first. */
  readonly heartbeatMs: number | undefined;
  /** Reason, in words, for not listening; undefined while listening. */
  readonly problem: string | undefined;
}

/** Kinds of keys that can be awaited: tasks and groups. */
export type NotificationKind = "tasks" | "groups";

/**
 * Keys whose notifications may have been missed between the start of a wait and the confirmation of its subscription.
 */
export interface SubscribedKeys {
  readonly kind: NotificationKind;
  readonly keys: readonly string[];
  /** True if, from now on, notifications about every key of this kind are received. */
  readonly isEverything: boolean;
}

/**
 * Tells a source which notifications are wanted, so that it need not carry others. Each `follow` counts until the
 * matching `unfollow`.
 */
export interface NotificationSelection {
  /** The first wait for a key has begun. */
  follow(kind: NotificationKind, key: string): void;
  /** The last wait for a key has ended. */
  unfollow(kind: NotificationKind, key: string): void;
  /** Everything of a kind is wanted. */
  followAll(kind: NotificationKind): void;
  unfollowAll(kind: NotificationKind): void;
  /** Emits what must be read once more, because its notifications are received only from now on. */
  readonly subscribed$: Observable<SubscribedKeys>;
}

/** A source of notifications: a LISTEN connection, nothing (when polling), or the carrier of a {@link Notifier}. */
export interface NotificationSource {
  /** Set by a source that carries only requested notifications. */
  readonly selection?: NotificationSelection;
  /** Never errors; completes when closed. */
  readonly notifications$: Observable<Notification>;
  /**
   * Replays the latest status. Emits `listening` again after every interruption, during which notifications were lost.
   */
  readonly status$: Observable<ListenStatus>;
  readonly report: ListenReport;
  /** Number of payloads that were not valid. Any role can send some. */
  readonly invalid: number;
  /**
   * Declares that notifications are needed until the returned function is called. The first call opens the connection.
   */
  demand(): () => void;
  close(): Promise<void>;
}

/** Tells other processes what has been stored here. */
export interface NotificationPublisher {
  /**
   * Announces ids after the commit. Never throws and never waits. What cannot be sent now is kept within bounds and
   * sent later.
   *
   * @param name - Kind of the ids: tasks with a result (`ids`) or new chunks (`chunks`), or groups whose members
   * finished (`members`).
   */
  announce(name: PayloadName, ids: Iterable<string>): void;
  /**
   * Asks every process to re-read everything it waits for, because it is unknown what was stored. Like
   * {@link NotificationPublisher.announce} it never throws, and the request is kept.
   */
  rescan(): void;
  /**
   * Resolves once everything is announced and confirmed, or after a bounded time. Until then, further announcements are
   * merged and not yet passed to {@link NotificationPublisher.announce}.
   */
  drain(): Promise<void>;
}

/** The source and the publisher of one backend. */
export interface NotifierChannel {
  readonly source: NotificationSource;
  readonly publisher: NotificationPublisher;
}

export interface NotifierChannelOptions {
  /** The schema whose results are announced. Other schemas do not concern the channel. */
  readonly schema: string;
  readonly logger: Pick<Logger, "info" | "warn">;
  /** Called for each announcement that could not be confirmed, or was dropped. */
  readonly onUnconfirmed: () => void;
}

/**
 * Carries notifications between processes beside Postgres, for the option `notifier`. Several backends may share one.
 */
export interface Notifier {
  /** Name for messages, such as `NATS`. */
  readonly name: string;
  /** Opens the channel of one backend. Connects only when it is used; `close` of the source ends everything. */
  open(options: NotifierChannelOptions): NotifierChannel;
}
