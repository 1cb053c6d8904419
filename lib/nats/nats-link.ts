import { createRequire } from "node:module";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type * as Transport from "@nats-io/transport-node";
import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import { Subject } from "rxjs";
import { unlessAborted, withTimeLimit } from "../database/race";
import { MissingPackageError } from "../errors";
import type { SupervisedSession } from "../notifications/supervisor";
import { addressOf, type ResolvedNatsOptions } from "./options";

export type NatsClient = typeof Transport;

const packageName = "@nats-io/transport-node";
/** The next server is asked as well once the previous one has not answered for this long. */
const staggerMs = 250;
/** Begins what a server sends first (NATS docs, "Client Protocol"). */
const greeting = "INFO";

/**
 * Loads the official client. As an optional peer it belongs to the user's project, and this package may be linked.
 *
 * @throws {@link MissingPackageError}
 */
export function loadClient(folders: readonly string[] = [__dirname, process.cwd()]): NatsClient {
  for (const folder of folders) {
    try {
      return createRequire(join(folder, "resolve.js"))(packageName) as NatsClient;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new MissingPackageError(packageName, "kojin-postgres/nats");
}

/** A subject on which the server does not allow a connection to publish. */
export interface RefusedPublish {
  readonly subject: string;
  readonly problem: string;
}

/** One connection to NATS, from when it is confirmed until it is lost. It does not come back. */
export class NatsLink implements SupervisedSession {
  readonly refused$ = new Subject<RefusedPublish>();
  readonly #connection: NatsConnection;
  readonly #client: NatsClient;
  readonly #life: AbortController;
  #lastError: Error | undefined;
  #provenAt = performance.now();
  #gossiped: readonly string[];

  private constructor(connection: NatsConnection, client: NatsClient, life: AbortController) {
    this.#connection = connection;
    this.#client = client;
    this.#life = life;
    this.#gossiped = connection.info?.connect_urls ?? [];
    void connection.closed().then((error) => this.#fail(error ?? this.#lastError ?? new Error("NATS has gone")));
    void this.#watch();
  }

  /**
   * Connects to one of the servers. The client is used for a single connection: its own reconnecting cannot be
   * cancelled while a socket hangs, buffers without bounds what is published meanwhile, and gives up for good when its
   * login is refused twice.
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

  /** When the server was last known to have taken everything sent before, on the clock of `performance.now()`. */
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

  /** Publishes. The server has the message once a later {@link NatsLink.confirm} has resolved with `true`. */
  publish(subject: string, payload: string): void {
    if (!this.#isLost) this.#connection.publish(subject, payload);
  }

  /** Resolves with `true` once the server has taken everything sent so far. No answer in time loses the connection. */
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

/**
 * Finds the first server that answers, over connections of our own, before the client is used: a server that accepts
 * and stays silent would cost the client a socket that cannot be ended, and an attempt of the client cannot be
 * cancelled.
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

/** Connects to a server, and resolves once it has spoken. A server that expects TLS at once does not speak first. */
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
