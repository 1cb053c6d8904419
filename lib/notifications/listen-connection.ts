import type { EventEmitter } from "node:events";
import createSubscriber, { type Subscriber } from "pg-listen";
import { Client, type ClientConfig } from "pg";
import { type DedicatedConnection, type DedicatedSession, openDedicatedSession } from "../database/dedicated-session";

const queryTimeoutMs = 5_000;

// A listener that the server believes alive holds back the notification queue of the whole cluster, so the server, too, has to notice a dead peer soon
// (PostgreSQL docs, "Connections and Authentication"). Poolers refuse startup options; see openDedicatedSession.
const sessionOptions =
  "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000 -c idle_session_timeout=0";

export interface ListenHandlers {
  onNotification(channel: string, payload: string): void;
  /** Called at most once, and not after `dispose`. */
  onLost(error: Error): void;
}

/**
 * One LISTEN connection, from its opening to its first fault, over pg-listen used single-shot. Its own reconnecting gives up after three seconds, does not
 * notice a silent peer, and can leave a connection behind when it is closed meanwhile; `retryLimit: 1` means no attempt at all, and an error at once.
 */
export class ListenConnection implements DedicatedSession {
  readonly #connection: DedicatedConnection;
  readonly #channel: string;
  readonly #subscriber: Subscriber;
  readonly #handlers: ListenHandlers;
  #ended = false;

  private constructor(connection: DedicatedConnection, channel: string, handlers: ListenHandlers) {
    this.#connection = connection;
    this.#channel = channel;
    this.#handlers = handlers;
    const { config } = connection;
    const singleFault = { ...config, connection: failingOnce(config) };
    this.#subscriber = createSubscriber(singleFault, {
      retryLimit: 1,
      retryInterval: 0,
      paranoidChecking: false,
      parse: (payload: string) => payload,
    });
    // Attached before connecting and never removed: an error event without a listener ends the process.
    this.#subscriber.events.on("error", (error) => this.#lose(error));
    this.#subscriber.events.on("notification", ({ channel, payload }) => {
      if (!this.#ended && typeof payload === "string") this.#handlers.onNotification(channel, payload);
    });
  }

  /** Connects, and listens to `channel`; resolves once the server has confirmed it. Rejects when `signal` aborts. */
  static async open(
    config: ClientConfig,
    channel: string,
    handlers: ListenHandlers,
    signal: AbortSignal,
  ): Promise<ListenConnection> {
    return openDedicatedSession(
      { config, sessionOptions, queryTimeoutMs, signal },
      (connection) => new ListenConnection(connection, channel, handlers),
    );
  }

  async connect(): Promise<void> {
    await this.#subscriber.connect();
    await this.listen(this.#channel);
  }

  /** Resolves once LISTEN is confirmed. A failure leaves the connection unusable. */
  async listen(channel: string): Promise<void> {
    await this.#subscriber.listenTo(channel);
  }

  async unlisten(channel: string): Promise<void> {
    await this.#subscriber.unlisten(channel);
  }

  /** Ends the connection, by force if need be. */
  async dispose(): Promise<void> {
    this.#ended = true;
    await this.#connection.end(this.#subscriber.close());
  }

  #lose(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#handlers.onLost(error);
  }
}

/**
 * The driver's connection under a client, which tells of its first error alone. A server that dies may send several, and pg-listen handles no more than two: the
 * third, an error event without a listener, ended the process.
 */
function failingOnce(config: ClientConfig): EventEmitter {
  // From a client that never connects, since only the driver knows how to make one out of a configuration. It has no public name.
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
