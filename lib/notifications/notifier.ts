import type { Observable } from "rxjs";
import type { Logger } from "../logger";
import type { Notification, PayloadName } from "./payload";

/**
 * How notifications reach this process. `idle`: nothing was waited for yet. `connecting`: LISTEN is being set up. `listening`: it is confirmed. `polling`: it is
 * refused, does not work or is being retried, so waits are found by reading every second. `closed`: by `close()`.
 */
export type ListenStatus = "idle" | "connecting" | "listening" | "polling" | "closed";

export interface ListenReport {
  readonly status: ListenStatus;
  /** Connections lost, or given up as deaf, so far. */
  readonly reconnects: number;
  /** Time the last heartbeat took, from the pool to the listener, in milliseconds; undefined before the first. */
  readonly heartbeatMs: number | undefined;
  /** Why it is not listening, in words; undefined while it is. */
  readonly problem: string | undefined;
}

/** What can be waited for: results of tasks, and groups. */
export type NotificationKind = "tasks" | "groups";

/** Keys of which it was possible to miss something, between the moment somebody began to wait for them and the one from which on notifications of them are heard. */
export interface SubscribedKeys {
  readonly kind: NotificationKind;
  readonly keys: readonly string[];
  /** Whether everything of this kind is heard of from now on. */
  readonly isEverything: boolean;
}

/** Says which notifications are wanted, to a source that would not carry the others. What is counted here is counted until it is taken back as often. */
export interface NotificationSelection {
  /** Somebody begins to wait for a key that nobody waited for. */
  follow(kind: NotificationKind, key: string): void;
  /** Nobody waits for it any more. */
  unfollow(kind: NotificationKind, key: string): void;
  /** Everything of a kind is wanted. */
  followAll(kind: NotificationKind): void;
  unfollowAll(kind: NotificationKind): void;
  /** What has to be read once more, since notifications of it are heard only from now on. */
  readonly subscribed$: Observable<SubscribedKeys>;
}

/** Where notifications come from. Behind it stands a LISTEN connection, nothing at all (poll mode), or whatever a {@link Notifier} carries ids with. */
export interface NotificationSource {
  /** Where one has to say what one wants to hear of; undefined where everything is heard anyway. */
  readonly selection?: NotificationSelection;
  /** Never errors; completes when closed. */
  readonly notifications$: Observable<Notification>;
  /** Replays the latest. `listening` is emitted anew after every interruption: notifications sent in between are lost. */
  readonly status$: Observable<ListenStatus>;
  readonly report: ListenReport;
  /** Payloads that were not ours; any role can send some. */
  readonly invalid: number;
  /** Says that notifications are needed from now on, until the function it gives is called. Opens the connection at the first call. */
  demand(): () => void;
  close(): Promise<void>;
}

/** Tells other processes what has been stored here. */
export interface NotificationPublisher {
  /**
   * Announces ids after the commit. Never throws and never waits: what cannot be said now is kept, within bounds, and said later.
   *
   * @param name - What the ids are: tasks with a result (`ids`), or groups whose members finished (`members`).
   */
  announce(name: PayloadName, ids: Iterable<string>): void;
  /** Asks all who wait to look at everything they wait for: something was stored, and nobody knows what. As {@link NotificationPublisher.announce} it never throws, and is kept. */
  rescan(): void;
  /** Resolves once everything is announced, or after a time that has an end. */
  drain(): Promise<void>;
}

/** What one backend has of a {@link Notifier}. */
export interface NotifierChannel {
  readonly source: NotificationSource;
  readonly publisher: NotificationPublisher;
}

/** For whom a notifier opens a channel. */
export interface NotifierChannelOptions {
  /** The schema whose results are announced; other schemas are none of its business. */
  readonly schema: string;
  readonly logger: Pick<Logger, "info" | "warn">;
  /** Called for each announcement that could not be confirmed, or was dropped. */
  readonly onUnconfirmed: () => void;
}

/** Carries notifications between processes beside Postgres, for the option `notifier`. Given to several backends it may share what it has among them. */
export interface Notifier {
  /** Such as `NATS`, for sentences. */
  readonly name: string;
  /** Opens what one backend needs. Nothing is connected before it is used; the source's `close` ends it all. */
  open(options: NotifierChannelOptions): NotifierChannel;
}
