import { Subscription } from "rxjs";
import { settledWithin } from "../database/race";
import type { ListenReport, NotificationPublisher, NotificationSource } from "../notifications/notifier";
import { type Notification, type PayloadName, payloadNames } from "../notifications/payload";

/** Most ids that wait while earlier ones are confirmed. Beyond that, all processes are asked to re-read everything. */
export const maxWaitingIds = 20_000;
/** Longest time to publish the rest when the relay is closed. */
const finishLimitMs = 2_000;

/**
 * Cause of a request to re-read everything. `takeover`: a relay became the leader. `reconnect`: the connection to
 * Postgres was interrupted. `announced`: a writer's statement had too many ids to list. `overflow`: too many ids were
 * waiting.
 */
export type RescanCause = "takeover" | "reconnect" | "announced" | "overflow";

/** Counters of one relay, over all its terms. */
export class RelayCounters {
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
 * One term as leader, during which a relay listens in Postgres and publishes what it receives, one batch at a time.
 * Notifications that arrive meanwhile are merged into the next batch. A slow notifier therefore uses bounded memory and
 * never delays the listener, which would keep the notification queue of the whole cluster from being emptied.
 */
export class Term {
  readonly #source: NotificationSource;
  readonly #publisher: NotificationPublisher;
  readonly #counters: RelayCounters;
  readonly #subscription = new Subscription();
  #waiting = new Lot();
  #underWay: Lot | undefined;
  #publishing: Promise<void> | undefined;
  #hasListened = false;
  #lastNotificationAt: number | undefined;

  constructor(source: NotificationSource, publisher: NotificationPublisher, counters: RelayCounters) {
    this.#source = source;
    this.#publisher = publisher;
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
    return this.#waiting.size + (this.#underWay?.size ?? 0);
  }

  /** Age of the oldest unconfirmed id, in milliseconds. */
  get lagMs(): number {
    const since = this.#underWay?.since ?? this.#waiting.since;
    return since === undefined ? 0 : performance.now() - since;
  }

  /** Stops listening, and publishes the rest. */
  async finish(): Promise<void> {
    this.#subscription.unsubscribe();
    if (this.#publishing !== undefined) await settledWithin(this.#publishing, finishLimitMs);
  }

  /**
   * Stops listening, and drops what waits, since the next leader asks all processes to re-read everything. Resolves
   * once both connections are closed.
   */
  async end(): Promise<void> {
    this.#subscription.unsubscribe();
    this.#waiting = new Lot();
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
      this.#waiting.add(name, received[name]);
    }
    if (this.#waiting.size > maxWaitingIds) {
      this.#waiting.clear();
      this.#rescan("overflow");
    }
    this.#publish();
  }

  /**
   * Asks all processes to re-read everything they wait for. They do so once a second at most, so ids that wait are
   * still published.
   */
  #rescan(cause: RescanCause): void {
    this.#counters.rescans[cause] += 1;
    this.#waiting.addRescan();
    this.#publish();
  }

  #publish(): void {
    if (this.#waiting.since !== undefined) this.#publishing ??= this.#publishLots();
  }

  async #publishLots(): Promise<void> {
    // The driver emits all notifications of one packet in the same turn.
    await Promise.resolve();
    while (this.#waiting.since !== undefined) {
      const lot = this.#waiting;
      this.#underWay = lot;
      this.#waiting = new Lot();
      for (const [name, ids] of lot.ids) {
        this.#counters.ids[name] += ids.size;
        this.#publisher.announce(name, ids);
      }
      if (lot.isRescan) this.#publisher.rescan();
      await this.#publisher.drain();
    }
    // Synchronously after the last check of what waits, so that any later notification starts a new run.
    this.#underWay = undefined;
    this.#publishing = undefined;
  }
}

/** What is published together: ids by what they are, each once, and a request to read everything. */
class Lot {
  readonly ids = new Map(payloadNames.map((name) => [name, new Set<string>()]));
  isRescan = false;
  /** Arrival of its oldest notification, on the clock of `performance.now()`; undefined while it is empty. */
  since: number | undefined;

  get size(): number {
    return [...this.ids.values()].reduce((sum, { size }) => sum + size, 0);
  }

  add(name: PayloadName, ids: readonly string[]): void {
    this.since ??= performance.now();
    for (const id of ids) this.ids.get(name)?.add(id);
  }

  addRescan(): void {
    this.since ??= performance.now();
    this.isRescan = true;
  }

  clear(): void {
    for (const ids of this.ids.values()) ids.clear();
  }
}
