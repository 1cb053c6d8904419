import { type Database, lockTimeoutSetting } from "../database/database";
import type { SessionConfig } from "../database/session-config";
import type { Logger } from "../logger";
import { BaseNotificationSource } from "./notification-source";
import { channelOf } from "./payload";
import { defaultListenTimes, type ListenClient, type ListenTimes, SharedListener } from "./shared-listener";

const notifyTimeoutMs = 3_000;
// Shorter, so that the server reports what it waits for, and the statement does not linger there.
const notifyLockTimeoutMs = 2_000;

export interface PostgresNotificationsOptions {
  readonly config: SessionConfig;
  readonly schema: string;
  readonly database: Database;
  readonly logger: Logger;
  readonly times?: ListenTimes;
}

/** Receives notifications by LISTEN, over a connection that backends of this process share. */
export class PostgresNotifications extends BaseNotificationSource implements ListenClient {
  readonly channel: string;
  readonly logger: Logger;
  readonly #options: PostgresNotificationsOptions;
  #listener: SharedListener | undefined;

  constructor(options: PostgresNotificationsOptions) {
    super();
    this.#options = options;
    this.channel = channelOf(options.schema);
    this.logger = options.logger;
  }

  override async close(): Promise<void> {
    await super.close();
    await this.#listener?.detach(this);
  }

  async notify(channel: string, payload: string): Promise<void> {
    const query = {
      purpose: "send a heartbeat",
      text: `select ${lockTimeoutSetting(notifyLockTimeoutMs)}, pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)`,
      values: [channel, payload],
    };
    await this.#options.database.notify(query, notifyTimeoutMs);
  }

  protected onDemand(): void {
    // Attached only now: a process that stores and never waits has no listener.
    const { config, times = defaultListenTimes } = this.#options;
    this.#listener ??= SharedListener.attach(this, config, times);
    this.#listener.connectFor(this);
  }

  protected override get heartbeatMs(): number | undefined {
    return this.#listener?.heartbeatMs;
  }
}
