import { distinctUntilChanged, ReplaySubject, Subject } from "rxjs";
import type { ClientConfig } from "pg";
import { type Database, lockTimeoutSetting } from "../database/database";
import { sendNotification } from "../database/send-notification";
import type { Logger } from "../options";
import { channelOf } from "./channel";
import { decodeHint, type Hint } from "./hint";
import type { HintSource, ListenReport, ListenStatus } from "./hint-source";
import { listenIdentity } from "./listen-config";
import { defaultListenTimes, type ListenClient, SharedListener, type ListenTimes } from "./shared-listener";

const notifyTimeoutMs = 3_000;
// Shorter, so that the server tells why it takes so long, and nothing stays behind there.
const notifyLockTimeoutMs = 2_000;

/** The listeners of this process. A module's variable, since it is the process that should have one; each lives as long as it has clients. */
const listeners = new Map<string, SharedListener>();

export interface PostgresHintsOptions {
  readonly config: ClientConfig;
  readonly schema: string;
  readonly database: Database;
  readonly logger: Logger;
  readonly times?: ListenTimes;
}

/** Hints by LISTEN, over the connection that this process shares. */
export class PostgresHints implements HintSource {
  readonly #options: PostgresHintsOptions;
  readonly #identity: string;
  readonly #hints$ = new Subject<Hint>();
  readonly #latest$ = new ReplaySubject<ListenStatus>(1);
  readonly hints$ = this.#hints$.asObservable();
  readonly status$ = this.#latest$.pipe(distinctUntilChanged());
  readonly #client: ListenClient;
  #listener: SharedListener | undefined;
  #report: ListenReport = { status: "idle", reconnects: 0, heartbeatMs: undefined, problem: undefined };
  #garbage = 0;

  constructor(options: PostgresHintsOptions) {
    this.#options = options;
    this.#latest$.next("idle");
    this.#identity = listenIdentity(options.config);
    this.#client = {
      channel: channelOf(options.schema),
      logger: options.logger,
      notify: async (channel, payload) => {
        const query = {
          purpose: "send a heartbeat",
          text: `select ${lockTimeoutSetting(notifyLockTimeoutMs)}, pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)`,
          values: [channel, payload],
        };
        await sendNotification(options.database, query, notifyTimeoutMs);
      },
      receive: (payload) => this.#receive(payload),
      setStatus: (status, problem) => this.#setStatus(status, problem),
      setHeartbeat: (heartbeatMs) => (this.#report = { ...this.#report, heartbeatMs }),
      countReconnect: () => (this.#report = { ...this.#report, reconnects: this.#report.reconnects + 1 }),
    };
  }

  get report(): ListenReport {
    return this.#report;
  }

  get garbage(): number {
    return this.#garbage;
  }

  demand(): () => void {
    // Attached only now: a process that stores and never waits has no listener.
    this.#listener ??= this.#attach();
    return this.#listener.demand(this.#client);
  }

  async close(): Promise<void> {
    this.#setStatus("closed");
    this.#hints$.complete();
    this.#latest$.complete();
    const listener = this.#listener;
    if (listener === undefined) return;
    // Out of the map before anything is awaited: a backend that is made meanwhile must not attach to a listener that is ending.
    if (listener.clientCount === 1) listeners.delete(this.#identity);
    await listener.detach(this.#client);
  }

  #attach(): SharedListener {
    const listener =
      listeners.get(this.#identity) ??
      new SharedListener(this.#options.config, this.#options.times ?? defaultListenTimes);
    listeners.set(this.#identity, listener);
    listener.attach(this.#client);
    return listener;
  }

  #receive(payload: string): void {
    const hint = decodeHint(payload);
    if (hint === undefined) this.#garbage += 1;
    else this.#hints$.next(hint);
  }

  #setStatus(status: ListenStatus, problem?: string): void {
    if (this.#report.status === "closed") return;
    this.#report = { ...this.#report, status, problem };
    this.#latest$.next(status);
  }
}
