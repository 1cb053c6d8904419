import { describe } from "../database/backend-error";
import { type Database, lockTimeoutSetting } from "../database/database";
import { backoffMs } from "../database/retry";
import { areSameValues, type SessionConfig } from "../database/session-config";
import type { Logger } from "../logger";
import { Heartbeat, type HeartbeatOutcome, type HeartbeatSender } from "./heartbeat";
import { ListenConnection } from "./listen-connection";
import { BaseNotificationSource } from "./notification-source";
import type { ListenStatus } from "./notifier";
import { channelOf } from "./payload";
import { Supervisor } from "./supervisor";

interface ListenTimes {
  /** Interval between heartbeats while anything waits, in milliseconds. */
  readonly heartbeatMs: number;
  /** Longest time for a heartbeat to arrive once it is sent. */
  readonly heartbeatTimeoutMs: number;
  /** The same for the first heartbeat on a new connection. */
  readonly selfTestMs: number;
}

// Ten seconds is shorter than the idle timeouts of NAT devices, load balancers and hosted databases.
const defaultListenTimes: ListenTimes = { heartbeatMs: 10_000, heartbeatTimeoutMs: 5_000, selfTestMs: 3_000 };

const notifyTimeoutMs = 3_000;
// Shorter than the client's limit, so that the server reports the lock it waits for, and no statement stays behind.
const notifyLockTimeoutMs = 2_000;
const maxReconnectDelayMs = 15_000;
// Short at first, since pool and listener can briefly be on different servers after a failover. Long later, since
// behind a transaction pooler nothing ever arrives, and each attempt leaves a LISTEN on one of the pooler's sessions.
const missedBackoff = { baseMs: 1_000, capMs: 60_000 };

const blockedProblem =
  "The server takes no notifications: its notification queue is full, or the lock for it is held for too long. Waits poll every second.";
const missedProblem =
  "LISTEN succeeds but no notification arrives, as behind a transaction pooler. Waits poll every second; give `listen: { connection }` a direct address.";
const elsewhereProblem =
  "Notifications that this backend's pool sends do not arrive at the listener, although those of another backend in this process do: the pool reaches another server. Waits poll every second.";

export interface PostgresNotificationsOptions {
  readonly config: SessionConfig;
  readonly schema: string;
  readonly database: Database;
  readonly logger: Logger;
  readonly times?: ListenTimes;
}

/** Receives notifications by LISTEN, over a connection that backends of this process share. */
export class PostgresNotifications extends BaseNotificationSource implements HeartbeatSender {
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
    // Attached only now, so that a process that only stores has no listener.
    const { config, times = defaultListenTimes } = this.#options;
    this.#listener ??= SharedListener.attach(this, config, times);
    this.#listener.connectFor(this);
  }

  protected override get heartbeatMs(): number | undefined {
    return this.#listener?.heartbeatMs;
  }
}

/**
 * Listeners of this process, each with the identity that its configuration had when it was created. The environment can
 * change later.
 */
const listeners = new Map<SharedListener, object | undefined>();

/**
 * Keeps one LISTEN connection for all backends of this process that reach the same database as the same user, since up
 * to Postgres 18 each NOTIFY wakes every listening connection. Connects when first needed, and tests the connection by
 * heartbeats while anything waits.
 */
class SharedListener extends Supervisor<ListenConnection> {
  readonly #config: SessionConfig;
  readonly #times: ListenTimes;
  readonly #clients = new Set<PostgresNotifications>();
  readonly #heartbeat = new Heartbeat();
  /** Status of all clients while there is no session. */
  #absence: { readonly status: ListenStatus; readonly problem?: string | undefined } = { status: "idle" };
  #heartbeatMs: number | undefined;
  #isBlocked = false;
  #receivedAt = -Infinity;
  /** Consecutive attempts whose heartbeat did not arrive. */
  #missedAttempts = 0;

  private constructor(config: SessionConfig, times: ListenTimes) {
    super({ maxDelayMs: maxReconnectDelayMs, checkIntervalMs: times.heartbeatMs });
    this.#config = config;
    this.#times = times;
  }

  /**
   * Attaches a client to a listener with the same configuration, or to a new one. Clients share a listener only if
   * their configurations certainly lead to the same database as the same user.
   */
  static attach(client: PostgresNotifications, config: SessionConfig, times: ListenTimes): SharedListener {
    const identity = config.identity();
    const fitting = [...listeners].find(([, other]) => identity !== undefined && areSameValues(identity, other));
    const listener = fitting?.[0] ?? new SharedListener(config, times);
    if (fitting === undefined) listeners.set(listener, identity);
    listener.#clients.add(client);
    return listener;
  }

  /** Detaches a client, and ends the connection with the last one. */
  async detach(client: PostgresNotifications): Promise<void> {
    this.#clients.delete(client);
    this.#heartbeat.forget(client);
    if (this.#clients.size > 0) {
      this.#updateChannels();
      return;
    }
    // Before any await, so that a backend created meanwhile does not attach to a listener that is ending.
    listeners.delete(this);
    await this.stop(new Error("The listener was closed"));
  }

  /** Duration of the latest heartbeat that arrived. */
  get heartbeatMs(): number | undefined {
    return this.#heartbeatMs;
  }

  /** Connects for a client that needs notifications, or checks a connection that has not been used for a while. */
  connectFor(client: PostgresNotifications): void {
    if (this.#absence.status === "idle") this.#setAbsence("connecting");
    this.start();
    this.#updateChannels();
    this.#tell(client);
    // The connection may have died unnoticed while nothing waited.
    if (performance.now() - this.#receivedAt > this.#times.heartbeatMs) void this.checkNow();
  }

  protected get isNeeded(): boolean {
    return this.#activeClients().length > 0;
  }

  protected async connect(life: AbortController): Promise<ListenConnection> {
    const connection = await ListenConnection.open(
      this.#config.resolve(),
      this.#heartbeat.channel,
      life,
      (channel, payload) => this.#receive(channel, payload),
    );
    life.signal.addEventListener("abort", () => this.#heartbeat.reset());
    try {
      await connection.listenTo(this.#wantedChannels());
      const { verdict } = await this.#test(this.#times.selfTestMs);
      life.signal.throwIfAborted();
      if (verdict === "missed") throw new MissedHeartbeatError(missedProblem);
      this.#isBlocked = verdict === "blocked";
      return connection;
    } catch (error) {
      this.#heartbeat.reset();
      await connection.dispose();
      throw error;
    }
  }

  protected async check(): Promise<void> {
    if (!this.isNeeded) return;
    const { heartbeatTimeoutMs } = this.#times;
    const { verdict } = await this.#test(heartbeatTimeoutMs);
    if (this.session === undefined) return;
    if (verdict === "missed") throw new Error(`No heartbeat arrived within ${heartbeatTimeoutMs} ms`);
    if (verdict === "blocked" && !this.#isBlocked) this.#log("warn", blockedProblem);
    if (verdict !== "unsent") this.#isBlocked = verdict === "blocked";
    this.#tellAll();
  }

  protected onConnected(_session: ListenConnection, attempt: number): void {
    this.#missedAttempts = 0;
    if (attempt > 0) this.#log("info", "Listening again.");
    if (this.#isBlocked) this.#log("warn", blockedProblem);
    this.#tellAll();
    // For clients that were attached while connecting.
    this.#updateChannels();
  }

  protected onLost({ message }: Error): void {
    for (const client of this.#clients) client.countReconnect();
    this.#setAbsence("connecting", message);
    this.#warnOfLoss(message);
  }

  protected onFailed(error: Error, attempt: number): void {
    const isMissed = error instanceof MissedHeartbeatError;
    if (isMissed && this.#missedAttempts === 0) this.#log("warn", missedProblem);
    this.#missedAttempts = isMissed ? this.#missedAttempts + 1 : 0;
    const problem = describe(error);
    this.#setAbsence("polling", problem);
    if (attempt === 0 && !isMissed) this.#warnOfLoss(problem);
  }

  /** An idle process must not wake a database that has been suspended. The next wait connects again. */
  protected override onIdle(): void {
    this.#setAbsence("idle");
  }

  protected override retryDelayMs(attempt: number): number {
    if (this.#missedAttempts === 0) return super.retryDelayMs(attempt);
    return backoffMs(this.#missedAttempts, missedBackoff.baseMs, missedBackoff.capMs);
  }

  #activeClients(): PostgresNotifications[] {
    return [...this.#clients].filter(({ isActive }) => isActive);
  }

  async #test(timeoutMs: number): Promise<HeartbeatOutcome> {
    const outcome = await this.#heartbeat.test(this.#activeClients(), timeoutMs);
    if (outcome.verdict === "received") {
      this.#receivedAt = performance.now();
      this.#heartbeatMs = outcome.roundTripMs;
    }
    return outcome;
  }

  #receive(channel: string, payload: string): void {
    if (channel === this.#heartbeat.channel) this.#heartbeat.receive(payload);
    else for (const client of this.#clients) if (client.channel === channel) client.receive(payload);
  }

  #wantedChannels(): ReadonlySet<string> {
    return new Set([this.#heartbeat.channel, ...[...this.#clients].map(({ channel }) => channel)]);
  }

  #updateChannels(): void {
    // The connection itself reports its loss.
    this.session?.listenTo(this.#wantedChannels()).then(
      () => this.#tellAll(),
      () => undefined,
    );
  }

  /** Derives the status of a client from its channel and its pool. */
  #statusOf(client: PostgresNotifications): readonly [ListenStatus, (string | undefined)?] {
    const { session } = this;
    if (session === undefined) return [this.#absence.status, this.#absence.problem];
    if (!session.isListeningTo(client.channel)) return ["connecting"];
    if (this.#isBlocked) return ["polling", blockedProblem];
    if (this.#heartbeat.isElsewhere(client)) return ["polling", elsewhereProblem];
    return ["listening"];
  }

  #tell(client: PostgresNotifications): void {
    const [status, problem] = this.#statusOf(client);
    if (problem === elsewhereProblem && client.report.problem !== problem) client.logger.warn(problem);
    client.setStatus(status, problem);
  }

  #tellAll(): void {
    for (const client of this.#clients) this.#tell(client);
  }

  #setAbsence(status: ListenStatus, problem?: string): void {
    this.#absence = { status, problem };
    this.#tellAll();
  }

  #warnOfLoss(problem: string): void {
    this.#log("warn", `Not listening: ${problem}. Waits poll every second until the listener is back.`);
  }

  #log(level: "info" | "warn", message: string): void {
    const [client] = this.#clients;
    client?.logger[level](message);
  }
}

/** The connection was opened, but its first heartbeat did not arrive. */
class MissedHeartbeatError extends Error {}
