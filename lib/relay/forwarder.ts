import { type Notification, payloadNames } from "../notifications/payload";
import type { NotificationPublisher } from "../notifications/notifier";
import { countIds, emptyIdSets, type IdSets, type RelayCounters, type RescanCause } from "./counters";

/** Ids that wait for those before them to be confirmed. Beyond that, nobody is told of single ones. */
export const maxWaitingIds = 20_000;

/**
 * Hands on what comes from Postgres. One lot is under way at a time; what comes meanwhile is merged into the next, so that a slow way out costs memory within bounds, and the
 * listener is never held up: a listener that does not read holds back the notification queue of the whole cluster.
 */
export class Forwarder {
  readonly #publisher: NotificationPublisher;
  readonly #counters: RelayCounters;
  #waiting: IdSets = emptyIdSets();
  #needsRescan = false;
  #underWay = 0;
  /** When the oldest came of what is not confirmed. */
  #oldestAt: number | undefined;
  #nextOldestAt: number | undefined;
  #sending: Promise<void> | undefined;
  #isStopped = false;

  constructor(publisher: NotificationPublisher, counters: RelayCounters) {
    this.#publisher = publisher;
    this.#counters = counters;
  }

  /** Ids that are not confirmed. */
  get unpublished(): number {
    return countIds(this.#waiting) + this.#underWay;
  }

  /** How long the oldest of them has been here, in milliseconds. */
  get lagMs(): number {
    return this.#oldestAt === undefined ? 0 : performance.now() - this.#oldestAt;
  }

  receive(notification: Notification): void {
    if (this.#isStopped) return;
    this.#counters.lastNotificationAt = performance.now();
    if (notification.rescan) {
      this.#counters.notifications.rescan += 1;
      this.rescan("announced");
      return;
    }
    const ids = {
      // Results themselves are read by those who wait for them.
      ids:
        notification.inline.length === 0
          ? notification.taskIds
          : [...notification.taskIds, ...notification.inline.map(({ taskId }) => taskId)],
      groups: notification.groupIds,
      done: notification.doneGroupIds,
      members: notification.memberGroupIds,
    };
    for (const name of payloadNames) {
      if (ids[name].length === 0) continue;
      this.#counters.notifications[name] += 1;
      for (const id of ids[name]) this.#waiting[name].add(id);
    }
    if (countIds(this.#waiting) > maxWaitingIds) {
      this.#waiting = emptyIdSets();
      this.rescan("overflow");
    }
    this.#send();
  }

  /** Asks all who wait to look at everything. */
  rescan(cause: RescanCause): void {
    if (this.#isStopped) return;
    this.#counters.rescans[cause] += 1;
    this.#needsRescan = true;
    this.#send();
  }

  /** Resolves once nothing is left to be told, or what is left was tried for as long as the publisher takes. */
  async drain(): Promise<void> {
    await this.#sending;
  }

  /** Lets go of everything: somebody else leads, and begins with asking all to look at everything. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting = emptyIdSets();
    this.#needsRescan = false;
  }

  get #hasWaiting(): boolean {
    return this.#needsRescan || countIds(this.#waiting) > 0;
  }

  #send(): void {
    if (!this.#hasWaiting) return;
    const now = performance.now();
    if (this.#sending !== undefined) {
      this.#nextOldestAt ??= now;
      return;
    }
    this.#oldestAt = now;
    this.#sending = this.#run();
  }

  async #run(): Promise<void> {
    // The driver hands out all that one packet brought in one go.
    await Promise.resolve();
    while (this.#hasWaiting) {
      const [sets, isRescan] = [this.#waiting, this.#needsRescan];
      this.#waiting = emptyIdSets();
      this.#needsRescan = false;
      this.#underWay = countIds(sets);
      for (const name of payloadNames) {
        this.#counters.ids[name] += sets[name].size;
        this.#publisher.announce(name, sets[name]);
      }
      if (isRescan) this.#publisher.rescan();
      await this.#publisher.drain();
      this.#underWay = 0;
      this.#oldestAt = this.#nextOldestAt;
      this.#nextOldestAt = undefined;
    }
    // In the same breath as the loop's end: what comes from here on starts it anew.
    this.#oldestAt = undefined;
    this.#sending = undefined;
  }
}
