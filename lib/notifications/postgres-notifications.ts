import { distinctUntilChanged, ReplaySubject, Subject } from "rxjs";
import { type Database, lockTimeoutSetting } from "../database/database";
import type { SessionConfig } from "../database/session-config";
import type { Logger } from "../logger";
import { channelOf } from "./channel";
import { decodePayload, type Notification } from "./payload";
import type { NotificationSource, ListenReport, ListenStatus } from "./notifier";
import { ListenerRegistry } from "./listener-registry";
import { defaultListenTimes, type ListenClient, type ListenTimes, type SharedListener } from "./shared-listener";

const notifyTimeoutMs = 3_000;
// Shorter, so that the server tells why it takes so long, and nothing stays behind there.
const notifyLockTimeoutMs = 2_000;

/** The listeners of this process, which should have as few as possible. */
const listeners = new ListenerRegistry();

export interface PostgresNotificationsOptions {
  readonly config: SessionConfig;
  readonly schema: string;
  readonly database: Database;
  readonly logger: Logger;
  readonly times?: ListenTimes;
}

/** Notifications by LISTEN, over the connection that this process shares. */
export class PostgresNotifications implements NotificationSource {
  readonly #options: PostgresNotificationsOptions;
  readonly #notifications$ = new Subject<Notification>();
  readonly #latest$ = new ReplaySubject<ListenStatus>(1);
  readonly notifications$ = this.#notifications$.asObservable();
  readonly status$ = this.#latest$.pipe(distinctUntilChanged());
  readonly #client: ListenClient;
  #listener: SharedListener | undefined;
  #report: ListenReport = { status: "idle", reconnects: 0, heartbeatMs: undefined, problem: undefined };
  #invalid = 0;

  constructor(options: PostgresNotificationsOptions) {
    this.#options = options;
    this.#latest$.next("idle");
    this.#client = {
      channel: channelOf(options.schema),
      logger: options.logger,
      notify: async (channel, payload) => {
        const query = {
          purpose: "send a heartbeat",
          text: `select ${lockTimeoutSetting(notifyLockTimeoutMs)}, pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)`,
          values: [channel, payload],
        };
        await options.database.notify(query, notifyTimeoutMs);
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

  get invalid(): number {
    return this.#invalid;
  }

  demand(): () => void {
    if (this.#report.status === "closed") return () => undefined;
    // Attached only now: a process that stores and never waits has no listener.
    this.#listener ??= listeners.attach(this.#client, this.#options.config, this.#options.times ?? defaultListenTimes);
    return this.#listener.demand(this.#client);
  }

  async close(): Promise<void> {
    this.#setStatus("closed");
    this.#notifications$.complete();
    this.#latest$.complete();
    if (this.#listener !== undefined) await listeners.detach(this.#client, this.#listener);
  }

  #receive(payload: string): void {
    const notification = decodePayload(payload);
    if (notification === undefined) this.#invalid += 1;
    else this.#notifications$.next(notification);
  }

  #setStatus(status: ListenStatus, problem?: string): void {
    if (this.#report.status === "closed") return;
    this.#report = { ...this.#report, status, problem };
    this.#latest$.next(status);
  }
}
