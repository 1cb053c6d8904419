import type { EventEmitter } from "node:events";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import createSubscriber, { type Subscriber } from "pg-listen";
import { Client, type ClientConfig } from "pg";
import { sqlStateOf } from "../database/sql-states";

const connectTimeoutMs = 5_000;
const queryTimeoutMs = 5_000;
/** How long a connection may take to end politely. On a dead one the driver would wait until TCP gives up, many minutes. */
const farewellMs = 200;

// A listener that the server believes alive holds back the notification queue of the whole cluster, so the server, too, has to notice a dead peer soon
// (PostgreSQL docs, "Connections and Authentication"). Poolers refuse startup options; see ListenConnection.open.
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
export class ListenConnection {
  readonly #subscriber: Subscriber;
  readonly #handlers: ListenHandlers;
  #socket: Duplex | undefined;
  #ended = false;

  private constructor(config: ClientConfig, handlers: ListenHandlers) {
    this.#handlers = handlers;
    const bounded: ClientConfig = {
      ...config,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      stream: () => (this.#socket = typeof config.stream === "function" ? config.stream() : new Socket()),
    };
    const singleFault = { ...bounded, connection: failingOnce(bounded) };
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
    const options = [config.options, sessionOptions].filter(Boolean).join(" ");
    try {
      return await ListenConnection.#open({ ...config, options }, channel, handlers, signal);
    } catch (error) {
      // Only an answer of the server can be about the options.
      if (sqlStateOf(error) === undefined || signal.aborted) throw error;
      return await ListenConnection.#open(config, channel, handlers, signal);
    }
  }

  static async #open(
    config: ClientConfig,
    channel: string,
    handlers: ListenHandlers,
    signal: AbortSignal,
  ): Promise<ListenConnection> {
    const connection = new ListenConnection(config, handlers);
    let abort = (): void => undefined;
    // The driver's own promise may never settle once its connection is ended while it connects.
    const aborted = new Promise<never>(
      (_resolve, reject) => (abort = () => reject(new Error("The listener was closed."))),
    );
    signal.addEventListener("abort", abort);
    try {
      signal.throwIfAborted();
      await Promise.race([connection.#subscriber.connect().then(() => connection.listen(channel)), aborted]);
      return connection;
    } catch (error) {
      await connection.dispose();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
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
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, farewellMs)));
    await Promise.race([this.#subscriber.close().catch(() => undefined), tooLong]);
    clearTimeout(timer);
    this.#socket?.destroy();
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
