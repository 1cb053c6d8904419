import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import type { NatsClient } from "./client";
import type { ResolvedNatsOptions } from "./options";
import { findServer } from "./probe";

export interface LinkHandlers {
  /** The server does not allow this connection to publish on a subject. */
  readonly onRefused: (subject: string, problem: string) => void;
}

/** One connection to NATS, from when it is confirmed until it is lost; it does not come back. */
export class NatsLink {
  /** Resolves with the reason once the connection is of no use any more. */
  readonly lost: Promise<Error>;
  readonly #connection: NatsConnection;
  readonly #client: NatsClient;
  readonly #handlers: LinkHandlers;
  /** Those who wait for an answer, to be told at once when there will be none. */
  readonly #unanswered = new Set<(isAnswered: boolean) => void>();
  #resolveLost: (reason: Error) => void = () => undefined;
  #isLost = false;
  #lastError: Error | undefined;
  #provenAt = performance.now();
  #gossiped: readonly string[];

  private constructor(connection: NatsConnection, client: NatsClient, handlers: LinkHandlers) {
    this.#connection = connection;
    this.#client = client;
    this.#handlers = handlers;
    this.#gossiped = connection.info?.connect_urls ?? [];
    this.lost = new Promise((resolve) => (this.#resolveLost = resolve));
    void connection.closed().then((error) => this.fail(error ?? this.#lastError ?? new Error("NATS has gone")));
    void this.#watch();
  }

  /**
   * Connects to one of the servers. The client is to be used for a single connection: its own reconnecting cannot be called off while a socket hangs, keeps what is published
   * meanwhile without bounds, and gives up for good when it is turned away twice.
   */
  static async open(
    client: NatsClient,
    options: ResolvedNatsOptions,
    servers: readonly string[],
    { signal, ...handlers }: LinkHandlers & { readonly signal: AbortSignal },
  ): Promise<NatsLink> {
    const isGreeted = options.client.tls?.handshakeFirst !== true;
    const answering = await findServer(servers, { timeoutMs: options.timeoutMs, isGreeted, signal });
    const connection = await client.connect({
      ...options.client,
      servers: [answering, ...servers.filter((server) => server !== answering)],
      noRandomize: true,
      reconnect: false,
      timeout: options.timeoutMs,
    });
    return new NatsLink(connection, client, handlers);
  }

  /** When the server was last known to have taken everything that was sent before, on the clock of `performance.now()`. */
  get provenAt(): number {
    return this.#provenAt;
  }

  /** Whether its server is one of several, which hear of a subscription only a little later than it. */
  get isClustered(): boolean {
    return this.#connection.info?.cluster !== undefined || this.#gossiped.length > 1;
  }

  /** Other servers of its cluster, as the server tells. */
  get gossiped(): readonly string[] {
    return this.#gossiped;
  }

  /** `onRefused` is called instead of `onMessage`, once, if the server does not allow it; before a later {@link NatsLink.confirm} resolves. */
  subscribe(
    subject: string,
    onMessage: (payload: string) => void,
    onRefused: (problem: string) => void,
  ): Subscription | undefined {
    if (this.#isLost || this.#connection.isClosed()) return undefined;
    return this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) onMessage(message.string());
        else onRefused(error.message);
      },
    });
  }

  /** Sends what no later {@link NatsLink.confirm} that resolves with `true` leaves in doubt. */
  publish(subject: string, payload: string): void {
    if (!this.#isLost && !this.#connection.isClosed()) this.#connection.publish(subject, payload);
  }

  /** Whether the server has taken everything that was sent so far; `false` if the connection is lost before, and where the answer takes too long, which loses it. */
  async confirm(timeoutMs: number): Promise<boolean> {
    if (this.#isLost || this.#connection.isClosed()) return false;
    const askedAt = performance.now();
    const isAnswered = await new Promise<boolean>((resolve) => {
      const settle = (answer: boolean): void => {
        clearTimeout(timer);
        this.#unanswered.delete(settle);
        resolve(answer);
      };
      const timer = setTimeout(() => {
        this.fail(new Error(`NATS has not answered within ${timeoutMs} ms`));
        settle(false);
      }, timeoutMs);
      this.#unanswered.add(settle);
      this.#connection.flush().then(
        () => settle(true),
        () => settle(false),
      );
    });
    if (isAnswered) this.#provenAt = askedAt;
    return isAnswered;
  }

  /** Gives the connection up. */
  fail(reason: Error): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#resolveLost(reason);
    for (const settle of [...this.#unanswered]) settle(false);
  }

  /** Resolves once nothing of it is left. */
  async close(): Promise<void> {
    this.fail(new Error("The connection to NATS was closed"));
    await this.#connection.close();
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === "update") this.#gossiped = this.#connection.info?.connect_urls ?? this.#gossiped;
      if (status.type !== "error") continue;
      const { error } = status;
      if (!(error instanceof this.#client.PermissionViolationError)) this.#lastError = error;
      else if (error.operation === "publish") this.#handlers.onRefused(error.subject, error.message);
    }
  }
}
