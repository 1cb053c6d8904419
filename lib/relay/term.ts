import type { Subscription } from "rxjs";
import { settledWithin } from "../database/race";
import type {
  ListenReport,
  NotificationPublisher,
  NotificationSource,
  NotifierChannel,
} from "../notifications/notifier";
import { type Notification, type PayloadName, payloadNames } from "../notifications/payload";
import type { RelayCounters, RescanCause } from "./report";

/** Ids that wait for earlier ones to be confirmed. Beyond that, all processes are asked to read everything. */
export const maxWaitingIds = 20_000;
/** For publishing the rest when the relay is closed. */
const finishLimitMs = 2_000;

/** The time in which a relay leads: it listens in Postgres, and publishes what it receives. */
export class Term {
  readonly #source: NotificationSource;
  readonly #channel: NotifierChannel;
  readonly #counters: RelayCounters;
  readonly #forwarder: Forwarder;
  readonly #subscription: Subscription;

  constructor(source: NotificationSource, channel: NotifierChannel, counters: RelayCounters) {
    this.#source = source;
    this.#channel = channel;
    this.#counters = counters;
    this.#forwarder = new Forwarder(channel.publisher, counters);
    counters.terms += 1;
    let hasListened = false;
    this.#subscription = source.notifications$.subscribe((notification) => this.#forwarder.receive(notification));
    this.#subscription.add(
      source.status$.subscribe((status) => {
        if (status !== "listening") return;
        // What was notified before this moment is unknown.
        this.#forwarder.rescan(hasListened ? "reconnect" : "takeover");
        hasListened = true;
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

  /** Why processes do not receive what is published. */
  get problem(): string | undefined {
    return this.#channel.source.report.problem;
  }

  get unpublished(): number {
    return this.#forwarder.unpublished;
  }

  get lagMs(): number {
    return this.#forwarder.lagMs;
  }

  /** Stops listening, and publishes the rest. */
  async finish(): Promise<void> {
    this.#subscription.unsubscribe();
    await settledWithin(this.#forwarder.drain(), finishLimitMs);
  }

  /** Stops publishing at once; resolves once nothing is connected. */
  async end(): Promise<void> {
    this.#subscription.unsubscribe();
    this.#forwarder.stop();
    this.#counters.listenReconnects += this.#source.report.reconnects;
    this.#counters.invalid += this.#source.invalid;
    await Promise.all([this.#channel.source.close(), this.#source.close()]);
  }
}

/**
 * Publishes what comes from Postgres. One lot is under way at a time, and what comes meanwhile is merged into the next:
 * a slow notifier costs a bounded amount of memory and never delays the listener, which would hold back the
 * notification queue of the whole cluster.
 */
export class Forwarder {
  readonly #publisher: NotificationPublisher;
  readonly #counters: RelayCounters;
  #waiting = new IdSets();
  #needsRescan = false;
  #underWay = 0;
  /** When the oldest arrived of the lot under way, and of what waits for the next. */
  #oldestAt: number | undefined;
  #nextOldestAt: number | undefined;
  #sending: Promise<void> | undefined;
  #isStopped = false;

  constructor(publisher: NotificationPublisher, counters: RelayCounters) {
    this.#publisher = publisher;
    this.#counters = counters;
  }

  /** Number of ids that are not confirmed. */
  get unpublished(): number {
    return this.#waiting.size + this.#underWay;
  }

  /** Age of the oldest of them, in milliseconds. */
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
    const received: Record<PayloadName, readonly string[]> = {
      // Results themselves are read by the processes that wait for them.
      ids: [...notification.taskIds, ...notification.inline.map(({ taskId }) => taskId)],
      groups: notification.groupIds,
      done: notification.doneGroupIds,
      members: notification.memberGroupIds,
    };
    for (const name of payloadNames) {
      if (received[name].length > 0) this.#counters.notifications[name] += 1;
      this.#waiting.add(name, received[name]);
    }
    if (this.#waiting.size > maxWaitingIds) {
      this.#waiting = new IdSets();
      this.rescan("overflow");
    }
    this.#send();
  }

  /** Asks all processes to read everything they wait for. */
  rescan(cause: RescanCause): void {
    if (this.#isStopped) return;
    this.#counters.rescans[cause] += 1;
    this.#needsRescan = true;
    this.#send();
  }

  /** Resolves once nothing is left to publish, or the publisher has given up on it. */
  async drain(): Promise<void> {
    await this.#sending;
  }

  /** Drops everything: the next leader begins by asking all processes to read everything. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting = new IdSets();
    this.#needsRescan = false;
  }

  get #hasWaiting(): boolean {
    return this.#needsRescan || this.#waiting.size > 0;
  }

  #send(): void {
    if (!this.#hasWaiting) return;
    if (this.#sending !== undefined) {
      this.#nextOldestAt ??= performance.now();
      return;
    }
    this.#oldestAt = performance.now();
    this.#sending = this.#run();
  }

  async #run(): Promise<void> {
    // The driver emits all notifications of one packet in the same turn.
    await Promise.resolve();
    while (this.#hasWaiting) {
      const [sets, isRescan] = [this.#waiting, this.#needsRescan];
      this.#waiting = new IdSets();
      this.#needsRescan = false;
      this.#underWay = sets.size;
      for (const name of payloadNames) {
        this.#counters.ids[name] += sets.of(name).size;
        this.#publisher.announce(name, sets.of(name));
      }
      if (isRescan) this.#publisher.rescan();
      await this.#publisher.drain();
      this.#underWay = 0;
      this.#oldestAt = this.#nextOldestAt;
      this.#nextOldestAt = undefined;
    }
    // Synchronously after the last look at what waits: what arrives from here on starts a new run.
    this.#oldestAt = undefined;
    this.#sending = undefined;
  }
}

/** Ids by what they are, each once. */
class IdSets {
  readonly #sets = new Map(payloadNames.map((name) => [name, new Set<string>()]));

  get size(): number {
    return payloadNames.reduce((sum, name) => sum + this.of(name).size, 0);
  }

  of(name: PayloadName): Set<string> {
    return this.#sets.get(name) as Set<string>;
  }

  add(name: PayloadName, ids: readonly string[]): void {
    for (const id of ids) this.of(name).add(id);
  }
}
