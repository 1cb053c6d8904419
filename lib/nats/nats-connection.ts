import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type * as Transport from "@nats-io/transport-node";
import type { NatsConnection as ClientConnection, Subscription } from "@nats-io/transport-node";
import { Subject } from "rxjs";
import { unlessAborted, withTimeLimit } from "../database/race";
import { MissingPackageError } from "../errors";
import type { Logger } from "../logger";
import { type SupervisedSession, Supervisor } from "../notifications/supervisor";
import { loadOptional } from "../optional-packages";
import { addressOf, type ResolvedNatsOptions } from "./options";

type NatsClient = typeof Transport;

const packageName = "@nats-io/transport-node";
/** Time after which the next server is also tried, if the previous one has not answered. */
const staggerMs = 250;
/** Begins what a server sends first (NATS docs, "Client Protocol"). */
const greeting = "INFO";

/**
 * Loads the official client.
 *
 * @throws {@link MissingPackageError}
 */
export function loadClient(folders?: readonly string[]): NatsClient {
  const client = loadOptional(packageName, folders);
  if (client === undefined) throw new MissingPackageError(packageName, "kojin-postgres/nats");
  return client as NatsClient;
}

/** A subject on which the server does not allow a connection to publish. */
export interface RefusedPublish {
  readonly subject: string;
  readonly problem: string;
}

/** One connection to NATS, from its confirmation to its loss. It does not reconnect. */
export class NatsLink implements SupervisedSession {
  readonly refused$ = new Subject<RefusedPublish>();
  readonly #connection: ClientConnection;
  readonly #client: NatsClient;
  readonly #life: AbortController;
  #lastError: Error | undefined;
  #provenAt = performance.now();
  #gossiped: readonly string[];

  private constructor(connection: ClientConnection, client: NatsClient, life: AbortController) {
    this.#connection = connection;
    this.#client = client;
    this.#life = life;
    this.#gossiped = connection.info?.connect_urls ?? [];
    void connection.closed().then((error) => this.#fail(error ?? this.#lastError ?? new Error("NATS has gone")));
    void this.#watch();
  }

  /**
   * Connects to one of the servers. The client is used for a single connection, because its own reconnecting cannot be
   * cancelled while a socket hangs, buffers published messages without bounds, and gives up permanently when its login
   * is refused twice.
   */
  static async open(
    client: NatsClient,
    options: ResolvedNatsOptions,
    servers: readonly string[],
    life: AbortController,
  ): Promise<NatsLink> {
    const answering = await findServer(servers, options, life.signal);
    const connection = await client.connect({
      ...options.client,
      servers: [answering, ...servers.filter((server) => server !== answering)],
      noRandomize: true,
      reconnect: false,
      timeout: options.timeoutMs,
    });
    return new NatsLink(connection, client, life);
  }

  /** Latest time by which the server has confirmed everything sent before, on the clock of `performance.now()`. */
  get provenAt(): number {
    return this.#provenAt;
  }

  /** Tells whether the server is one of several, which learn of a subscription a little later. */
  get isClustered(): boolean {
    return this.#connection.info?.cluster !== undefined || this.#gossiped.length > 1;
  }

  /** Other servers of the cluster, as the server reports them. */
  get gossiped(): readonly string[] {
    return this.#gossiped;
  }

  /**
   * Calls `onRefused` once instead of `onMessage`, before a later {@link NatsLink.confirm} resolves, if the server
   * refuses.
   */
  subscribe(
    subject: string,
    onMessage: (payload: string) => void,
    onRefused: (problem: string) => void,
  ): Subscription | undefined {
    if (this.#isLost) return undefined;
    return this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) onMessage(message.string());
        else onRefused(error.message);
      },
    });
  }

  /** Publishes a message. The server has it once a later {@link NatsLink.confirm} has resolved with `true`. */
  publish(subject: string, payload: string): void {
    if (!this.#isLost) this.#connection.publish(subject, payload);
  }

  /**
   * Resolves with `true` once the server has received everything sent so far. Without an answer in time the connection
   * is lost.
   */
  async confirm(timeoutMs: number): Promise<boolean> {
    if (this.#isLost) return false;
    const askedAt = performance.now();
    const flushed = unlessAborted(this.#connection.flush(), [this.#life.signal]).then(
      () => true,
      () => false,
    );
    const isConfirmed = await withTimeLimit(flushed, timeoutMs, () => {
      this.#fail(new Error(`NATS has not answered within ${timeoutMs} ms`));
      return false;
    });
    if (isConfirmed) this.#provenAt = askedAt;
    return isConfirmed;
  }

  async dispose(): Promise<void> {
    await this.#connection.close();
  }

  get #isLost(): boolean {
    return this.#life.signal.aborted || this.#connection.isClosed();
  }

  #fail(reason: Error): void {
    this.#life.abort(reason);
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === "update") this.#gossiped = this.#connection.info?.connect_urls ?? this.#gossiped;
      if (status.type !== "error") continue;
      const { error } = status;
      if (!(error instanceof this.#client.PermissionViolationError)) this.#lastError = error;
      else if (error.operation === "publish") this.refused$.next({ subject: error.subject, problem: error.message });
    }
  }
}

/** The source or the publisher of a backend, which use a {@link NatsConnection}. */
export interface NatsMember {
  readonly logger: Pick<Logger, "info" | "warn">;
  /** True while the member cannot do without a connection. */
  readonly isActive: boolean;
  connected(link: NatsLink): void;
  /** Called when the connection is lost or, without a `link`, when an attempt to connect has failed. */
  disconnected(problem: string, link?: NatsLink): void;
  /** Called when there is no connection and no member is active. */
  idle?(): void;
}

const maxReconnectDelayMs = 15_000;

/** Keeps one connection to NATS for all backends that were given the same notifier. Connects when first needed. */
export class NatsConnection extends Supervisor<NatsLink> {
  readonly #client: NatsClient;
  readonly #options: ResolvedNatsOptions;
  readonly #members = new Set<NatsMember>();
  #gossiped: readonly string[] = [];
  #problem: string | undefined;
  #roundTripMs: number | undefined;

  constructor(client: NatsClient, options: ResolvedNatsOptions) {
    super({ maxDelayMs: maxReconnectDelayMs, checkIntervalMs: options.pingIntervalMs });
    this.#client = client;
    this.#options = options;
  }

  /** Error of the latest attempt; undefined before the first one, and once one has succeeded. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Time in which the server answered the latest ping. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  attach(...members: NatsMember[]): void {
    for (const member of members) {
      this.#members.add(member);
      if (this.session !== undefined) member.connected(this.session);
    }
  }

  /** Detaches members. Ends the connection with the last ones. */
  async detach(...members: NatsMember[]): Promise<void> {
    for (const member of members) this.#members.delete(member);
    if (this.#members.size > 0) return;
    await this.stop(new Error("The connection to NATS was closed"));
    this.#problem = undefined;
  }

  protected get isNeeded(): boolean {
    return [...this.#members].some(({ isActive }) => isActive);
  }

  protected async connect(life: AbortController): Promise<NatsLink> {
    const servers = [...new Set([...this.#options.servers, ...this.#gossiped])];
    const isShuffled = this.#options.client.noRandomize !== true;
    return NatsLink.open(this.#client, this.#options, isShuffled ? shuffled(servers) : servers, life);
  }

  protected async check(link: NatsLink): Promise<void> {
    const sentAt = performance.now();
    if (await link.confirm(this.#options.pingIntervalMs / 2)) this.#roundTripMs = performance.now() - sentAt;
  }

  protected onConnected(link: NatsLink): void {
    if (this.#problem !== undefined) this.#log("info", "Connected to NATS again.");
    this.#problem = undefined;
    for (const member of this.#members) member.connected(link);
    void this.checkNow();
  }

  protected onLost(error: Error, link: NatsLink): void {
    this.#gossiped = link.gossiped;
    this.#report(error.message);
    for (const member of this.#members) member.disconnected(error.message, link);
  }

  protected onFailed(error: Error): void {
    this.#report(error.message);
    for (const member of this.#members) member.disconnected(error.message);
  }

  protected override onIdle(): void {
    for (const member of this.#members) member.idle?.();
  }

  #report(problem: string): void {
    if (this.#problem === undefined)
      this.#log("warn", `Cannot reach NATS: ${problem}. Waits poll every second until it is reached.`);
    this.#problem = problem;
  }

  #log(level: "info" | "warn", message: string): void {
    const [member] = this.#members;
    member?.logger[level](message);
  }
}

function shuffled(servers: readonly string[]): string[] {
  const ranked = servers.map((server) => ({ server, rank: Math.random() }));
  return ranked.sort((one, other) => one.rank - other.rank).map(({ server }) => server);
}

/**
 * Finds the first server that answers, over our own connections and before the client is used. If a server accepts a
 * connection but sends nothing, the client's attempt cannot be cancelled, and its socket cannot be closed.
 */
async function findServer(
  servers: readonly string[],
  options: ResolvedNatsOptions,
  signal: AbortSignal,
): Promise<string> {
  const found = new AbortController();
  const ended = AbortSignal.any([signal, found.signal]);
  let turn: Promise<unknown> = Promise.resolve();
  const probes = servers.map(async (server) => {
    const probe = turn.then(async () => awaitGreeting(server, options, ended));
    const waited = turn.then(async () => sleep(staggerMs, undefined, { signal: ended }));
    turn = Promise.race([probe, waited]).catch(() => undefined);
    await probe;
    return server;
  });
  try {
    return await Promise.any(probes);
  } catch (error) {
    signal.throwIfAborted();
    throw (error as AggregateError).errors.at(-1);
  } finally {
    found.abort();
  }
}

/**
 * Connects to a server, and resolves once it has sent something. A server that expects TLS at once does not send first.
 */
async function awaitGreeting(
  server: string,
  { timeoutMs, client }: ResolvedNatsOptions,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const { host, port } = addressOf(server);
  const name = `${host}:${port}`;
  const socket = connect({ host, port });
  const greeted = new Promise<void>((resolve, reject) => {
    socket.on("error", (error: NodeJS.ErrnoException) => reject(new Error(`${name}: ${error.code ?? error.message}`)));
    socket.on("close", () => reject(new Error(`${name} ended the connection`)));
    if (client.tls?.handshakeFirst === true) socket.once("connect", resolve);
    else
      socket.once("data", (data) => {
        if (data.toString("latin1", 0, greeting.length) === greeting) resolve();
        else reject(new Error(`${name} is not a NATS server`));
      });
  });
  try {
    await withTimeLimit(unlessAborted(greeted, [signal]), timeoutMs, () => {
      throw new Error(`${name} does not answer`);
    });
  } finally {
    socket.destroy();
  }
}
