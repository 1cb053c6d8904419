import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Client, type ClientConfig } from "pg";
import { sqlStateOf } from "../database/sql-states";

const connectTimeoutMs = 5_000;
/** For one answer, after which the session is given up: well before the server does so, and gives its lock to somebody else. */
const queryTimeoutMs = 2_000;
/** How long a connection may take to end politely. */
const farewellMs = 200;

// What the server needs to notice that a host has vanished, about ten seconds; sooner than it would by itself, which takes hours. The session is idle most of the time.
const sessionOptions =
  "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000 -c idle_session_timeout=0";

/** A session of the server that holds one advisory lock, or tries for it. The lock goes with the session, however that ends. */
export class LockSession {
  readonly #client: Client;
  readonly #key: string;
  #socket: Duplex | undefined;
  #isEnded = false;

  private constructor(config: ClientConfig, key: string, onLost: (error: Error) => void) {
    this.#key = key;
    this.#client = new Client({
      ...config,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      stream: () => (this.#socket = typeof config.stream === "function" ? config.stream() : new Socket()),
    });
    const lose = (error: Error): void => {
      if (!this.#isEnded) onLost(error);
      this.#isEnded = true;
    };
    this.#client.on("error", lose);
    this.#client.on("end", () => lose(new Error("The server has ended the connection")));
  }

  /**
   * Connects. `onLost` is called at most once, in the moment in which the connection breaks, and not after `dispose`. Rejects when `signal` aborts, and where a pooler stands
   * before the server: of a lock in a session that is handed around, nobody can tell who has it.
   */
  static async open(
    config: ClientConfig,
    key: string,
    onLost: (error: Error) => void,
    signal: AbortSignal,
  ): Promise<LockSession> {
    const options = [config.options, sessionOptions].filter(Boolean).join(" ");
    try {
      return await LockSession.#open({ ...config, options }, key, onLost, signal);
    } catch (error) {
      // Only an answer of the server, or of a pooler, can be about the options.
      if (sqlStateOf(error) === undefined || signal.aborted) throw error;
      return await LockSession.#open(config, key, onLost, signal);
    }
  }

  static async #open(
    config: ClientConfig,
    key: string,
    onLost: (error: Error) => void,
    signal: AbortSignal,
  ): Promise<LockSession> {
    let isOpen = false;
    const session = new LockSession(config, key, (error) => {
      if (isOpen) onLost(error);
    });
    let abort = (): void => undefined;
    const aborted = new Promise<never>((_resolve, reject) => (abort = () => reject(new Error("The relay was closed"))));
    aborted.catch(() => undefined);
    signal.addEventListener("abort", abort);
    try {
      signal.throwIfAborted();
      await Promise.race([session.#connect(), aborted]);
      isOpen = true;
      return session;
    } catch (error) {
      await session.dispose();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Whether the lock is to be had, and so held from now on. To be asked only while it is not held: it would have to be given back as often. */
  async tryLock(): Promise<boolean> {
    const { rows } = await this.#client.query<{ has_lock: boolean }>(
      "select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::text, 0)) as has_lock",
      [this.#key],
    );
    return rows[0]?.has_lock === true;
  }

  async unlock(): Promise<void> {
    await this.#client.query("select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1::text, 0))", [
      this.#key,
    ]);
  }

  /** Resolves if the server still answers; rejects in time if it does not. */
  async check(): Promise<void> {
    await this.#client.query("select 1");
  }

  /** Ends the session, and so gives the lock back; by force if need be. */
  async dispose(): Promise<void> {
    this.#isEnded = true;
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, farewellMs)));
    await Promise.race([this.#client.end().catch(() => undefined), tooLong]);
    clearTimeout(timer);
    this.#socket?.destroy();
  }

  async #connect(): Promise<void> {
    await this.#client.connect();
    const { rows } = await this.#client.query<{ pid: number }>("select pg_catalog.pg_backend_pid() as pid");
    // A pooler gives its clients process numbers of its own.
    if (rows[0]?.pid !== (this.#client as { processID?: number | null }).processID)
      throw new Error("there is a pooler before the server; a relay needs a direct address to listen at");
  }
}
