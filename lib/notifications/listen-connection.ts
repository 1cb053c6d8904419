import type { EventEmitter } from "node:events";
import createSubscriber, { type Subscriber } from "pg-listen";
import { Client, type ClientConfig } from "pg";
import { type DedicatedConnection, type DedicatedSession, openDedicatedSession } from "../database/dedicated-session";
import { unlessAborted } from "../database/race";

const queryTimeoutMs = 5_000;

// Settings with which the server detects a dead listener quickly (PostgreSQL docs, "Connections and Authentication").
// Until then that listener keeps the notification queue of the whole cluster from being emptied. If a pooler refuses
// startup options, the session begins without them.
const sessionOptions =
  "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000 -c idle_session_timeout=0";

type NotificationHandler = (channel: string, payload: string) => void;

/**
 * One LISTEN connection, from its opening to its first fault. It uses one pg-listen instance with `retryLimit: 1`,
 * which reports the first error instead of reconnecting. pg-listen's own reconnecting gives up after three seconds,
 * does not detect a dead peer, and can leave a connection behind if it is closed meanwhile.
 */
export class ListenConnection implements DedicatedSession {
  readonly #connection: DedicatedConnection;
  readonly #subscriber: Subscriber;
  readonly #life: AbortController;
  /** Channels whose LISTEN the server has confirmed. */
  readonly #confirmed = new Set<string>();
  #wanted: ReadonlySet<string>;
  #syncing: Promise<void> | undefined;
  #isOpen = false;
  #failure: Error | undefined;
  #isDisposed = false;

  private constructor(
    connection: DedicatedConnection,
    channel: string,
    life: AbortController,
    onNotification: NotificationHandler,
  ) {
    this.#connection = connection;
    this.#wanted = new Set([channel]);
    this.#life = life;
    const { config } = connection;
    const failing = { ...config, connection: failingOnce(config) };
    this.#subscriber = createSubscriber(failing, {
      retryLimit: 1,
      retryInterval: 0,
      paranoidChecking: false,
      parse: (payload: string) => payload,
    });
    // Attached before connecting and never removed: an error event without a listener ends the process.
    this.#subscriber.events.on("error", (error) => this.#lose(error));
    this.#subscriber.events.on("notification", ({ channel, payload }) => {
      if (!this.#isDisposed && typeof payload === "string") onNotification(channel, payload);
    });
  }

  /** Connects, and listens to `channel`. Aborting `life` cancels that; losing the connection later aborts `life`. */
  static async open(
    config: ClientConfig,
    channel: string,
    life: AbortController,
    onNotification: NotificationHandler,
  ): Promise<ListenConnection> {
    return openDedicatedSession(
      { config, sessionOptions, queryTimeoutMs, signal: life.signal },
      (connection) => new ListenConnection(connection, channel, life, onNotification),
    );
  }

  async connect(): Promise<void> {
    await this.#subscriber.connect();
    await this.listenTo(this.#wanted);
    // An error with which the server ends the session can arrive in the same packet as the confirmation.
    if (this.#failure !== undefined) throw this.#failure;
    this.#isOpen = true;
  }

  isListeningTo(channel: string): boolean {
    return this.#confirmed.has(channel);
  }

  /** Listens to exactly these channels. Resolves once the server has confirmed them. A failure loses the connection. */
  async listenTo(channels: ReadonlySet<string>): Promise<void> {
    this.#wanted = channels;
    if (this.#syncing === undefined && this.#nextStatement() === undefined) return;
    this.#syncing ??= unlessAborted(this.#sync(), [this.#life.signal]);
    await this.#syncing;
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    await this.#connection.end(this.#subscriber.close());
  }

  /** Runs one statement at a time, since a channel can be wanted again during its UNLISTEN. */
  async #sync(): Promise<void> {
    try {
      for (let next = this.#nextStatement(); next !== undefined; next = this.#nextStatement()) await next();
    } catch (error) {
      this.#lose(error as Error);
      throw error;
    } finally {
      // Synchronously after the last check of the channels, so that a later call starts again.
      this.#syncing = undefined;
    }
  }

  #nextStatement(): (() => Promise<void>) | undefined {
    for (const channel of this.#wanted) if (!this.#confirmed.has(channel)) return async () => this.#listen(channel);
    for (const channel of this.#confirmed) if (!this.#wanted.has(channel)) return async () => this.#unlisten(channel);
    return undefined;
  }

  async #listen(channel: string): Promise<void> {
    await this.#subscriber.listenTo(channel);
    this.#confirmed.add(channel);
  }

  async #unlisten(channel: string): Promise<void> {
    this.#confirmed.delete(channel);
    await this.#subscriber.unlisten(channel);
  }

  #lose(error: Error): void {
    if (this.#isDisposed) return;
    this.#failure ??= error;
    if (this.#isOpen) this.#life.abort(error);
  }
}

/**
 * Creates the driver's connection for a client, and reports only its first error. A dying server may send several.
 * pg-listen handles at most two, and the third, an error event without a listener, ended the process.
 */
function failingOnce(config: ClientConfig): EventEmitter {
  // From a client that never connects: only the driver can make a connection from a configuration, under no public
  // name.
  const { connection } = new Client(config) as unknown as { connection: EventEmitter };
  const emit = connection.emit.bind(connection);
  let hasFailed = false;
  connection.emit = (event: string, ...values: unknown[]) => {
    const isError = event === "error" || event === "errorMessage";
    if (isError && hasFailed) return true;
    hasFailed ||= isError;
    return emit(event, ...values);
  };
  return connection;
}
