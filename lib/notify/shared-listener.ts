import { setTimeout as sleep } from "node:timers/promises";
import { filter, exhaustMap, firstValueFrom, interval, map, merge, Subject, tap } from "rxjs";
import { backoffMs } from "../database/backoff";
import type { SessionConfig } from "../database/session-config";
import type { Logger } from "../options";
import { heartbeatChannel } from "./channel";
import { Heartbeat, type Proof } from "./heartbeat";
import type { ListenStatus } from "./hint-source";
import { ListenConnection } from "./listen-connection";
import { isError } from "../value/foreign";

/** What listens through a {@link SharedListener}: one backend, on one channel. */
export interface ListenClient {
  readonly channel: string;
  readonly logger: Logger;
  /** Notifies through the backend's pool; bounded in time. */
  notify(channel: string, payload: string): Promise<void>;
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
// A connection that is refused nothing but hears nothing will not soon hear something: behind a transaction pooler each try leaves a LISTEN behind.
const deafBackoff = { baseMs: 15_000, capMs: 300_000 };
const blockedProblem =
  "The server takes no notification: its notification queue is full, or the lock for it is held for too long. Waits are found by reading every second.";
const deafProblem =
  "LISTEN succeeds but no notification arrives, as through a transaction pooler. Waits are found by reading every second; give `listen: { connection }` a direct address.";

/**
 * Keeps one LISTEN connection for all backends of this process that reach the same database as the same user: on Postgres up to 18 each NOTIFY wakes each
 * listening connection, so their number is what a database can least afford. Supervises it: opens it when first needed, proves it by heartbeats while anyone
 * waits, and replaces it for ever, with backoff, when it fails.
 */
export class SharedListener {
  readonly #config: SessionConfig;
  readonly #times: ListenTimes;
  readonly #clients = new Set<ListenClient>();
  readonly #heartbeat = new Heartbeat();
  readonly #heartbeatChannel = heartbeatChannel();
  readonly #checks$ = new Subject<void>();
  #stopping = new AbortController();
  #connection: ListenConnection | undefined;
  #lost$ = new Subject<Error>();
  /** Channels for which LISTEN was sent on the present connection, and those for which the server has confirmed it. */
  #listened = new Set<string>();
  #confirmed = new Set<string>();
  /** What all clients were told last, for those that come later. */
  #latest: { readonly status: ListenStatus; readonly problem: string | undefined } = {
    status: "idle",
    problem: undefined,
  };
  #running: Promise<void> | undefined;
  #demand = 0;
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
    this.#clients.add(client);
  }

  async detach(client: ListenClient): Promise<void> {
    this.#clients.delete(client);
    if (this.#clients.size === 0) {
      this.#stopping.abort();
      await this.#running;
    } else if (
      ![...this.#clients].some(({ channel }) => channel === client.channel) &&
      this.#listened.delete(client.channel)
    ) {
      this.#confirmed.delete(client.channel);
      await this.#connection?.unlisten(client.channel).catch((error: unknown) => this.#lost$.next(error as Error));
    }
  }

  /** Says that `client` needs hints, until the function it gives is called. */
  demand(client: ListenClient): () => void {
    this.#demand += 1;
    if (this.#running === undefined) {
      this.#stopping = new AbortController();
      this.#running = this.#run(this.#stopping.signal);
    } else if (this.#connection === undefined || this.#confirmed.has(client.channel)) {
      client.setStatus(this.#latest.status, this.#latest.problem);
    } else {
      client.setStatus("connecting");
      void this.#listenToAll(this.#connection);
    }
    // After a time in which nobody needed it the connection may be dead without anybody having noticed.
    if (performance.now() - this.#provenAt > this.#times.heartbeatMs) this.#checks$.next();
    let isReleased = false;
    return () => {
      if (!isReleased) this.#demand -= 1;
      isReleased = true;
    };
  }

  async #run(signal: AbortSignal): Promise<void> {
    let attempt = 0;
    this.#announce("connecting");
    while (!signal.aborted && this.#demand > 0) {
      const { problem, wasListening, delayMs } = await this.#connectOnce(attempt, signal);
      attempt = wasListening ? 1 : attempt + 1;
      if (wasListening) for (const client of this.#clients) client.countReconnect();
      this.#announce(wasListening ? "connecting" : "polling", problem);
      await sleep(delayMs ?? backoffMs(attempt, reconnectBackoff.baseMs, reconnectBackoff.capMs), undefined, {
        signal,
      }).catch(() => undefined);
    }
    // In the same breath as the loop's end: whoever needs hints from here on starts it anew.
    this.#running = undefined;
    // An idle process does not wake a database that has gone to sleep; the next wait will.
    this.#announce("idle");
  }

  /** Opens a connection and stays with it until it is lost; tells why, and how long to stay away where that is special. */
  async #connectOnce(
    attempt: number,
    signal: AbortSignal,
  ): Promise<{ problem: string; wasListening: boolean; delayMs?: number }> {
    const lost$ = (this.#lost$ = new Subject<Error>());
    // Subscribed before the connection exists: what is lost while it is being set up is remembered. To be stopped is to be lost.
    const lost = firstValueFrom(lost$);
    const stop = (): void => lost$.next(new Error("The listener was closed"));
    signal.addEventListener("abort", stop);
    let connection: ListenConnection | undefined;
    let wasListening = false;
    try {
      connection = await ListenConnection.open(
        this.#config.resolve(),
        this.#heartbeatChannel,
        this.#handlers(lost$),
        signal,
      );
      await this.#listenToAll(connection);
      const proof = await Promise.race([this.#prove(this.#times.selfTestMs), lost]);
      if (proof instanceof Error) throw proof;
      if (proof.verdict === "deaf") return { problem: this.#reportDeaf(), wasListening, delayMs: this.#deafDelayMs() };
      wasListening = true;
      this.#connection = connection;
      this.#deafAttempts = 0;
      if (attempt > 0) this.#log("info", "Listening again.");
      // What has been attached in the meantime is listened to as well; the others hear that they are listening.
      await this.#listenToAll(connection);
      if (proof.verdict === "blocked") this.#report(proof);
      else this.#announce("listening");
      throw await this.#watch(lost);
    } catch (error) {
      const problem = isError(error) ? error.message : String(error);
      if (!signal.aborted && (wasListening || attempt === 0))
        this.#log("warn", `Not listening: ${problem}. Waits are found by reading until it is back.`);
      return { problem, wasListening };
    } finally {
      signal.removeEventListener("abort", stop);
      lost$.complete();
      lost.catch(() => undefined);
      this.#heartbeat.cancel();
      this.#connection = undefined;
      this.#listened = new Set();
      this.#confirmed = new Set();
      await connection?.dispose();
    }
  }

  /** Resolves with the reason once the connection is lost or a heartbeat is missed. */
  async #watch(lost: Promise<Error>): Promise<Error> {
    const { heartbeatMs, heartbeatTimeoutMs } = this.#times;
    const missed$ = merge(interval(heartbeatMs), this.#checks$).pipe(
      filter(() => this.#demand > 0),
      exhaustMap(() => this.#prove(heartbeatTimeoutMs)),
      tap((proof) => this.#report(proof)),
      filter(({ verdict }) => verdict === "deaf"),
      map(() => new Error(`No heartbeat arrived within ${heartbeatTimeoutMs} ms`)),
    );
    return firstValueFrom(merge(lost, missed$));
  }

  async #prove(timeoutMs: number): Promise<Proof> {
    const [client] = this.#clients;
    if (client === undefined) return { verdict: "unproven" };
    const proof = await this.#heartbeat.prove((nonce) => client.notify(this.#heartbeatChannel, nonce), timeoutMs);
    if (proof.verdict === "alive") {
      this.#provenAt = performance.now();
      for (const each of this.#clients) each.setHeartbeat(proof.roundTripMs);
    }
    return proof;
  }

  /** Tells of a connection that hears, whether there is anything to be heard on it at present. */
  #report({ verdict }: Proof): void {
    const { status } = this.#latest;
    if (verdict === "alive" && status === "polling") this.#announce("listening");
    if (verdict !== "blocked" || status === "polling") return;
    this.#log("warn", blockedProblem);
    this.#announce("polling", blockedProblem);
  }

  #handlers(lost$: Subject<Error>): {
    onNotification: (channel: string, payload: string) => void;
    onLost: (error: Error) => void;
  } {
    return {
      onLost: (error) => lost$.next(error),
      onNotification: (channel, payload) => {
        if (channel === this.#heartbeatChannel) this.#heartbeat.receive(payload);
        else for (const client of this.#clients) if (client.channel === channel) client.receive(payload);
      },
    };
  }

  /** Listens to the channels that are not listened to yet, and tells their clients if the connection has proven itself. */
  async #listenToAll(connection: ListenConnection): Promise<void> {
    const lost$ = this.#lost$;
    try {
      for (const client of this.#clients) {
        if (this.#listened.has(client.channel)) continue;
        this.#listened.add(client.channel);
        await connection.listen(client.channel);
        if (lost$ === this.#lost$) this.#confirmed.add(client.channel);
        if (this.#connection === connection) this.#announce(this.#latest.status, this.#latest.problem, client.channel);
      }
    } catch (error) {
      lost$.next(error as Error);
    }
  }

  #announce(status: ListenStatus, problem?: string, channel?: string): void {
    if (channel === undefined) this.#latest = { status, problem };
    for (const client of this.#clients)
      if (channel === undefined || client.channel === channel) client.setStatus(status, problem);
  }

  #log(level: "info" | "warn", message: string): void {
    const [client] = this.#clients;
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
