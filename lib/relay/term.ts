import { Subscription } from "rxjs";
import type { Logger } from "../logger";
import { type MergeCounters, MergingPublisher } from "../notifications/merging-publisher";
import type { ListenReport, NotificationPublisher, NotificationSource } from "../notifications/notifier";
import { type Notification, type PayloadName, payloadNames } from "../notifications/payload";

/**
 * Cause of a request to re-read everything. `takeover`: a relay became the leader. `reconnect`: the connection to
 * Postgres was interrupted. `announced`: a writer's statement had too many ids to list. `overflow`: too many ids were
 * waiting.
 */
export type RescanCause = "takeover" | "reconnect" | "announced" | "overflow";

/** Counters of one relay, over all its terms. */
export class RelayCounters implements MergeCounters {
  /** Number of times the relay became the leader. */
  terms = 0;
  /**
   * Notifications received, by kind: results (`ids`), chunks (`chunks`), groups that changed (`groups`), completed
   * (`done`) or may be either (`members`), or too much to list (`rescan`).
   */
  readonly notifications: Record<PayloadName | "rescan", number> = {
    ids: 0,
    chunks: 0,
    groups: 0,
    done: 0,
    members: 0,
    rescan: 0,
  };
  /** Number of invalid payloads. */
  invalid = 0;
  /** Ids relayed, by the same names. Counts an id once that was received several times while it waited. */
  readonly ids: Record<PayloadName, number> = { ids: 0, chunks: 0, groups: 0, done: 0, members: 0 };
  /** Number of times all processes were asked to re-read everything, by cause. */
  readonly rescans: Record<RescanCause, number> = { takeover: 0, reconnect: 0, announced: 0, overflow: 0 };
  /** Announcements that the notifier could not confirm at first. They are sent again. */
  unconfirmed = 0;
}

/**
 * One term as leader, during which a relay listens in Postgres and publishes what it receives, merged while earlier
 * notifications are unconfirmed. A slow notifier therefore uses bounded memory and never delays the listener, which
 * would keep the notification queue of the whole cluster from being emptied.
 */
export class Term {
  readonly #source: NotificationSource;
  readonly #publisher: MergingPublisher;
  readonly #counters: RelayCounters;
  readonly #subscription = new Subscription();
  #hasListened = false;
  #lastNotificationAt: number | undefined;

  constructor(
    source: NotificationSource,
    publisher: NotificationPublisher,
    logger: Pick<Logger, "warn">,
    counters: RelayCounters,
  ) {
    this.#source = source;
    this.#publisher = new MergingPublisher(publisher, logger, counters);
    this.#counters = counters;
    counters.terms += 1;
    this.#subscription.add(source.notifications$.subscribe((notification) => this.#receive(notification)));
    this.#subscription.add(
      source.status$.subscribe((status) => {
        if (status !== "listening") return;
        // Notifications before this moment may have been missed.
        this.#rescan(this.#hasListened ? "reconnect" : "takeover");
        this.#hasListened = true;
      }),
    );
    source.demand();
  }

  get listen(): ListenReport {
    return this.#source.report;
  }

  get invalid(): number {
    return this.#source.invalid;
  }

  /** On the clock of `performance.now()`; undefined before the first. */
  get lastNotificationAt(): number | undefined {
    return this.#lastNotificationAt;
  }

  /** Number of unconfirmed ids. */
  get unpublished(): number {
    return this.#publisher.unconfirmed;
  }

  /** Age of the oldest unconfirmed id, in milliseconds. */
  get lagMs(): number {
    return this.#publisher.lagMs;
  }

  /** Stops listening, and publishes the rest. */
  async finish(): Promise<void> {
    this.#subscription.unsubscribe();
    await this.#publisher.drain();
  }

  /**
   * Stops listening, and drops what waits, since the next leader asks all processes to re-read everything. Resolves
   * once both connections are closed.
   */
  async end(): Promise<void> {
    this.#subscription.unsubscribe();
    this.#publisher.close();
    await this.#source.close();
  }

  #receive(notification: Notification): void {
    this.#lastNotificationAt = performance.now();
    if (notification.rescan) {
      this.#counters.notifications.rescan += 1;
      this.#rescan("announced");
      return;
    }
    const received: Record<PayloadName, readonly string[]> = {
      // Drops inline results: waiting processes read them.
      ids: [...notification.taskIds, ...notification.inline.map(({ taskId }) => taskId)],
      chunks: notification.chunkTaskIds,
      groups: notification.groupIds,
      done: notification.doneGroupIds,
      members: notification.memberGroupIds,
    };
    for (const name of payloadNames) {
      if (received[name].length === 0) continue;
      this.#counters.notifications[name] += 1;
      this.#publisher.announce(name, received[name]);
    }
  }

  #rescan(cause: RescanCause): void {
    this.#counters.rescans[cause] += 1;
    this.#publisher.rescan();
  }
}
