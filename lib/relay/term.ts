import { Subscription } from "rxjs";
import { settledWithin } from "../database/race";
import type { ListenReport, NotificationPublisher, NotificationSource } from "../notifications/notifier";
import { type Notification, type PayloadName, payloadNames } from "../notifications/payload";

/** Ids that wait for earlier ones to be confirmed. Beyond that, all processes are asked to read everything. */
export const maxWaitingIds = 20_000;
/** For publishing the rest when the relay is closed. */
const finishLimitMs = 2_000;

/**
 * Cause of a request to read everything. `takeover`: a relay began to lead. `reconnect`: the connection to Postgres was
 * interrupted. `announced`: a writer's statement was too large to name its ids. `overflow`: too many ids were waiting.
 */
export type RescanCause = "takeover" | "reconnect" | "announced" | "overflow";

/** Counts what one relay has done, over all its terms. */
export class RelayCounters {
  /** Number of times the relay began to lead. */
  terms = 0;
  /**
   * Notifications received, by what they were about: results (`ids`), groups that changed, completed, or may be either
   * (`members`), or too much to name (`rescan`).
   */
  readonly notifications: Record<PayloadName | "rescan", number> = {
    ids: 0,
    groups: 0,
    done: 0,
    members: 0,
    rescan: 0,
  };
  /** Payloads that were not valid. */
  invalid = 0;
  /** Ids relayed, by the same names. Counts an id once that was received several times while it waited. */
  readonly ids: Record<PayloadName, number> = { ids: 0, groups: 0, done: 0, members: 0 };
  /** Number of times all processes were asked to read everything, by cause. */
  readonly rescans: Record<RescanCause, number> = { takeover: 0, reconnect: 0, announced: 0, overflow: 0 };
  /** Announcements that the notifier could not confirm at first. They are made again. */
  unconfirmed = 0;
}

/**
 * The time in which a relay leads: it listens in Postgres, and publishes what it receives. One lot is under way at a
 * time, and what comes meanwhile is merged into the next: a slow notifier costs a bounded amount of memory and never
 * delays the listener, which would hold back the notification queue of the whole cluster.
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
        // What was notified before this moment is unknown.
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

  /** Number of ids that are not confirmed. */
  get unpublished(): number {
    return this.#waiting.size + (this.#underWay?.size ?? 0);
  }

  /** Age of the oldest of them, in milliseconds. */
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
   * Stops listening, and drops what waits: the next leader begins by asking all processes to read everything. Resolves
   * once nothing is connected.
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
      // Results themselves are read by the processes that wait for them.
      ids: [...notification.taskIds, ...notification.inline.map(({ taskId }) => taskId)],
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
   * Asks all processes to read everything they wait for. They do so once a second at most, so ids that wait are still
   * published.
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
    // Synchronously after the last look at what waits: what arrives from here on starts anew.
    this.#underWay = undefined;
    this.#publishing = undefined;
  }
}

/** What is published together: ids by what they are, each once, and a request to read everything. */
class Lot {
  readonly ids = new Map(payloadNames.map((name) => [name, new Set<string>()]));
  isRescan = false;
  /** When the oldest of it arrived, on the clock of `performance.now()`; undefined while it is empty. */
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
