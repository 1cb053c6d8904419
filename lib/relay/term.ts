import type { Subscription } from "rxjs";
import { settledWithin } from "../database/race";
import type { NotifierChannel, NotificationSource, ListenReport } from "../notifications/notifier";
import type { RelayCounters } from "./counters";
import { Forwarder } from "./forwarder";

/** For what is there to be told, when the relay is closed. */
const finishLimitMs = 2_000;

/** One time of leading: listens in Postgres from its beginning, and tells by the notifier, until it is ended. */
export class Term {
  readonly #source: NotificationSource;
  readonly #channel: NotifierChannel;
  readonly #counters: RelayCounters;
  readonly #forwarder: Forwarder;
  readonly #subscription: Subscription;
  #ending: Promise<void> | undefined;

  /** `onChange` is called whenever the listener's status has changed. */
  constructor(source: NotificationSource, channel: NotifierChannel, counters: RelayCounters, onChange: () => void) {
    this.#source = source;
    this.#channel = channel;
    this.#counters = counters;
    this.#forwarder = new Forwarder(channel.publisher, counters);
    counters.terms += 1;
    let hasListened = false;
    this.#subscription = source.notifications$.subscribe((notification) => this.#forwarder.receive(notification));
    this.#subscription.add(
      source.status$.subscribe((status) => {
        // Listening from now on, and told from now on: of what came before this, nobody knows.
        if (status === "listening") {
          this.#forwarder.rescan(hasListened ? "reconnect" : "takeover");
          hasListened = true;
        }
        onChange();
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

  /** Why what is told is not heard. */
  get problem(): string | undefined {
    return this.#channel.source.report.problem;
  }

  get unpublished(): number {
    return this.#forwarder.unpublished;
  }

  get lagMs(): number {
    return this.#forwarder.lagMs;
  }

  /** Listens no more, and tells what there is. */
  async finish(): Promise<void> {
    this.#subscription.unsubscribe();
    await settledWithin(this.#forwarder.drain(), finishLimitMs);
  }

  /** Tells nothing more, from this moment on; resolves once nothing is left connected. */
  async end(): Promise<void> {
    this.#ending ??= this.#end();
    await this.#ending;
  }

  async #end(): Promise<void> {
    this.#subscription.unsubscribe();
    this.#forwarder.stop();
    this.#counters.listenReconnects += this.#source.report.reconnects;
    this.#counters.invalid += this.#source.invalid;
    await Promise.all([this.#channel.source.close(), this.#source.close()]);
  }
}
