import { setTimeout as sleep } from "node:timers/promises";
import { exhaustMap, filter, firstValueFrom, interval, map, merge, Subject, tap } from "rxjs";
import { backoffMs } from "../database/retry";
import { describe } from "../database/backend-error";
import type { SessionConfig } from "../database/session-config";
import type { Logger } from "../logger";
import { heartbeatChannel } from "./channel";
import { Channels } from "./channels";
import type { Proof } from "./heartbeat";
import type { ListenStatus } from "./notifier";
import { ListenConnection } from "./listen-connection";
import { type NotifyingPool, PoolProofs } from "./pool-proofs";

/** What listens through a {@link SharedListener}: one backend, on one channel. */
export interface ListenClient extends NotifyingPool {
  readonly channel: string;
  readonly logger: Logger;
  receive(payload: string): void;
  setStatus(status: ListenStatus, problem?: string): void;
  setHeartbeat(roundTripMs: number): void;
  countReconnect(): void;
}

export interface ListenTimes {
  /** Between two heartbeats while anyone waits, in milliseconds. */
  readonly heartbeatMs: number;
  /** For the nonce of a heartbeat to arrive once it is sent. */
  readonly heartbeatTimeoutMs: number;
  /** For the first nonce on a new connection. */
  readonly selfTestMs: number;
}

// Ten seconds stays below what NATs, load balancers and hosted databases give an idle connection.
export const defaultListenTimes: ListenTimes = { heartbeatMs: 10_000, heartbeatTimeoutMs: 5_000, selfTestMs: 3_000 };

const reconnectBackoff = { baseMs: 100, capMs: 15_000 };
// Soon at first: after a failover, pool and listener can be on different servers for a moment. Seldom later: behind a
// transaction pooler nothing will arrive, and each attempt leaves a LISTEN behind on a connection of the pooler.
const deafBackoff = { baseMs: 1_000, capMs: 60_000 };
const blockedProblem =
  "The server takes no notification: its notification queue is full, or the lock for it is held for too long. Waits are found by reading every second.";
const deafProblem =
  "LISTEN succeeds but no notification arrives, as through a transaction pooler. Waits are found by reading every second; give `listen: { connection }` a direct address.";
const elsewhereProblem =
  "What this backend's pool notifies does not arrive at the listener, although notifications of another backend of this process do: the pool reaches another server. Waits are found by reading every second.";

/** A connection that has proven itself. */
interface Session {
  readonly channels: Channels;
  /** Whether the server takes no notification at present. */
  isBlocked: boolean;
}

/** How a connection ended. */
interface Ending {
  readonly problem: string;
  readonly wasListening: boolean;
  /** How long to stay away, where that is special. */
  readonly delayMs?: number;
}

/**
 * Keeps one LISTEN connection for all backends of this process that reach the same database as the same user: on Postgres up to 18 each NOTIFY wakes each
 * listening connection, so their number is what a database can least afford. Supervises it: opens it when first needed, proves it by heartbeats while anyone
 * waits, and replaces it for ever, with backoff, when it fails.
 */
export class SharedListener {
  readonly #config: SessionConfig;
  readonly #times: ListenTimes;
  /** Each with how often it has said that it needs notifications, and not taken it back. */
  readonly #clients = new Map<ListenClient, number>();
  readonly #heartbeatChannel = heartbeatChannel();
  readonly #proofs = new PoolProofs<ListenClient>(this.#heartbeatChannel, ({ logger }) =>
    logger.warn(elsewhereProblem),
  );
  readonly #checks$ = new Subject<void>();
  #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #session: Session | undefined;
  /** What holds for all clients while there is no session. */
  #absence: { readonly status: ListenStatus; readonly problem?: string | undefined } = { status: "idle" };
  /** Ends the connection, whether it is proven or not. */
  #lose: (error: Error) => void = () => undefined;
  #provenAt = -Infinity;
  #deafAttempts = 0;

  constructor(config: SessionConfig, times: ListenTimes) {
    this.#config = config;
    this.#times = times;
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  attach(client: ListenClient): void {
    this.#clients.set(client, 0);
  }

  /** Resolves at once, or for the last client once nothing is left connected. */
  async detach(client: ListenClient): Promise<void> {
    this.#clients.delete(client);
    this.#proofs.forget(client);
    if (this.#clients.size > 0) {
      this.#syncChannels();
      return;
    }
    this.#stopping.abort(new Error("The listener was closed"));
    await this.#running;
  }

  /** Says that `client` needs notifications, until the function it gives is called. */
  demand(client: ListenClient): () => void {
    this.#count(client, 1);
    if (this.#running === undefined) {
      this.#stopping = new AbortController();
      this.#running = this.#run(this.#stopping.signal);
    }
    this.#syncChannels();
    this.#tell(client);
    // After a time without waits the connection may be dead without a sign of it.
    if (performance.now() - this.#provenAt > this.#times.heartbeatMs) this.#checks$.next();
    let isReleased = false;
    return () => {
      if (!isReleased) this.#count(client, -1);
      isReleased = true;
    };
  }

  #count(client: ListenClient, change: 1 | -1): void {
    const demands = this.#clients.get(client);
    // What a detached client takes back is gone with it.
    if (demands !== undefined) this.#clients.set(client, demands + change);
  }

  #demanding(): ListenClient[] {
    return [...this.#clients].filter(([, demands]) => demands > 0).map(([client]) => client);
  }

  async #run(signal: AbortSignal): Promise<void> {
    let attempt = 0;
    this.#setAbsence("connecting");
    while (!signal.aborted && this.#demanding().length > 0) {
      const { problem, wasListening, delayMs } = await this.#connectOnce(attempt, signal);
      attempt = wasListening ? 1 : attempt + 1;
      if (!wasListening) this.#setAbsence("polling", problem);
      await sleep(delayMs ?? backoffMs(attempt, reconnectBackoff.baseMs, reconnectBackoff.capMs), undefined, {
        signal,
      }).catch(() => undefined);
    }
    // Synchronously after the loop's end: who needs notifications from here on starts it anew.
    this.#running = undefined;
    // An idle process does not wake a database that has gone to sleep; the next wait will.
    this.#setAbsence("idle");
  }

  /** Opens a connection and stays with it until it is lost. */
  async #connectOnce(attempt: number, signal: AbortSignal): Promise<Ending> {
    let wasListening = false;
    const loss: { error?: Error } = {};
    let lose: (error: Error) => void = () => undefined;
    const lost = new Promise<Error>((resolve) => {
      lose = (error) => {
        loss.error ??= error;
        // At once, and not when the connection has been ended: until then its clients would believe that they hear.
        if (this.#session !== undefined && this.#lose === lose) this.#endSession(error.message);
        resolve(error);
      };
    });
    this.#lose = lose;
    const failed = lost.then((error) => {
      throw error;
    });
    failed.catch(() => undefined);
    // To be stopped is to be lost.
    const stop = (): void => lose(signal.reason as Error);
    signal.addEventListener("abort", stop);
    let connection: ListenConnection | undefined;
    try {
      connection = await ListenConnection.open(
        this.#config.resolve(),
        this.#heartbeatChannel,
        this.#handlers(lose),
        signal,
      );
      const channels = new Channels(
        connection,
        () => this.#wantedChannels(),
        () => this.#tellAll(),
      );
      await Promise.race([channels.sync(), failed]);
      const proof = await Promise.race([this.#prove(this.#times.selfTestMs), failed]);
      if (proof.verdict === "deaf") return { problem: this.#reportDeaf(), wasListening, delayMs: this.#deafDelayMs() };
      // The last words of a server can come in one piece with the nonce.
      if (loss.error !== undefined) throw loss.error;
      wasListening = true;
      this.#deafAttempts = 0;
      if (attempt > 0) this.#log("info", "Listening again.");
      this.#session = { channels, isBlocked: false };
      this.#report(proof);
      this.#tellAll();
      // What has been attached meanwhile.
      this.#syncChannels();
      throw await this.#watch(lost);
    } catch (error) {
      const problem = describe(error);
      if (wasListening) this.#endSession(problem);
      if (!signal.aborted && (wasListening || attempt === 0))
        this.#log("warn", `Not listening: ${problem}. Waits are found by reading until it is back.`);
      return { problem, wasListening };
    } finally {
      signal.removeEventListener("abort", stop);
      this.#proofs.reset();
      await connection?.dispose();
    }
  }

  #endSession(problem: string): void {
    if (this.#session === undefined) return;
    this.#session = undefined;
    for (const client of this.#clients.keys()) client.countReconnect();
    this.#setAbsence("connecting", problem);
  }

  /** Resolves with the reason once the connection is lost or a heartbeat is missed. */
  async #watch(lost: Promise<Error>): Promise<Error> {
    const { heartbeatMs, heartbeatTimeoutMs } = this.#times;
    const missed$ = merge(interval(heartbeatMs), this.#checks$).pipe(
      filter(() => this.#demanding().length > 0),
      exhaustMap(async () => this.#prove(heartbeatTimeoutMs)),
      tap((proof) => this.#report(proof)),
      filter(({ verdict }) => verdict === "deaf"),
      map(() => new Error(`No heartbeat arrived within ${heartbeatTimeoutMs} ms`)),
    );
    return firstValueFrom(merge(lost, missed$));
  }

  async #prove(timeoutMs: number): Promise<Proof> {
    const proof = await this.#proofs.prove(this.#demanding(), timeoutMs);
    if (proof.verdict === "alive") {
      this.#provenAt = performance.now();
      for (const client of this.#clients.keys()) client.setHeartbeat(proof.roundTripMs);
    }
    return proof;
  }

  /** Tells what a proof says about a connection that is listened on. */
  #report({ verdict }: Proof): void {
    const session = this.#session;
    if (session === undefined) return;
    if (verdict === "blocked" && !session.isBlocked) this.#log("warn", blockedProblem);
    if (verdict === "alive" || verdict === "blocked") session.isBlocked = verdict === "blocked";
    this.#tellAll();
  }

  #handlers(lose: (error: Error) => void): {
    onNotification: (channel: string, payload: string) => void;
    onLost: (error: Error) => void;
  } {
    return {
      onLost: lose,
      onNotification: (channel, payload) => {
        if (channel === this.#heartbeatChannel) this.#proofs.receive(payload);
        else for (const client of this.#clients.keys()) if (client.channel === channel) client.receive(payload);
      },
    };
  }

  #wantedChannels(): ReadonlySet<string> {
    return new Set([...this.#clients.keys()].map(({ channel }) => channel));
  }

  /** Has the connection listen to what its clients want. One that does not do as it is told is lost. */
  #syncChannels(): void {
    const lose = this.#lose;
    this.#session?.channels.sync().catch((error: unknown) => lose(error as Error));
  }

  /** A client's status follows from its channel and its pool on the present connection; it is nowhere kept. */
  #statusOf(client: ListenClient): readonly [ListenStatus, (string | undefined)?] {
    const session = this.#session;
    if (session === undefined) return [this.#absence.status, this.#absence.problem];
    if (!session.channels.isConfirmed(client.channel)) return ["connecting"];
    if (session.isBlocked) return ["polling", blockedProblem];
    if (this.#proofs.isElsewhere(client)) return ["polling", elsewhereProblem];
    return ["listening"];
  }

  #tell(client: ListenClient): void {
    client.setStatus(...this.#statusOf(client));
  }

  #tellAll(): void {
    for (const client of this.#clients.keys()) this.#tell(client);
  }

  #setAbsence(status: ListenStatus, problem?: string): void {
    this.#absence = { status, problem };
    this.#tellAll();
  }

  #log(level: "info" | "warn", message: string): void {
    const [client] = this.#clients.keys();
    client?.logger[level](message);
  }

  #reportDeaf(): string {
    if (this.#deafAttempts === 0) this.#log("warn", deafProblem);
    this.#deafAttempts += 1;
    return deafProblem;
  }

  #deafDelayMs(): number {
    return backoffMs(this.#deafAttempts, deafBackoff.baseMs, deafBackoff.capMs);
  }
}
