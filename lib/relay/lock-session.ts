import { Client, type ClientConfig } from "pg";
import { type DedicatedConnection, type DedicatedSession, openDedicatedSession } from "../database/dedicated-session";

/** For one answer, after which the session is given up: well before the server does so, and gives its lock to somebody else. */
const queryTimeoutMs = 2_000;

// What the server needs to notice that a host has vanished, about ten seconds; sooner than it would by itself, which takes hours. A process that hangs still answers by
// its kernel, so the server ends a session that asks nothing for as long: one that is well asks each second.
const sessionOptions =
  "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000 -c idle_session_timeout=10000";

/** A session of the server that holds one advisory lock, or tries for it. The lock goes with the session, however that ends. */
export class LockSession implements DedicatedSession {
  readonly #connection: DedicatedConnection;
  readonly #client: Client;
  readonly #key: string;
  #isOpen = false;
  #isEnded = false;

  private constructor(connection: DedicatedConnection, key: string, onLost: (error: Error) => void) {
    this.#connection = connection;
    this.#key = key;
    this.#client = new Client(connection.config);
    const lose = (error: Error): void => {
      if (this.#isOpen && !this.#isEnded) onLost(error);
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
    return openDedicatedSession(
      { config, sessionOptions, queryTimeoutMs, signal },
      (connection) => new LockSession(connection, key, onLost),
    );
  }

  /** Whether the lock is to be had, and so held from now on. To be asked only while it is not held: it would have to be given back as often. */
  async tryLock(): Promise<boolean> {
    return (
      (await this.#ask("pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::pg_catalog.text, 0))", [
        this.#key,
      ])) === "true"
    );
  }

  async unlock(): Promise<void> {
    await this.#client.query(
      "select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1::pg_catalog.text, 0))",
      [this.#key],
    );
  }

  /** Resolves if the server still answers; rejects in time if it does not. */
  async check(): Promise<void> {
    await this.#client.query("select 1");
  }

  /** Ends the session, and so gives the lock back; by force if need be. */
  async dispose(): Promise<void> {
    this.#isEnded = true;
    await this.#connection.end(this.#client.end());
  }

  async connect(): Promise<void> {
    await this.#client.connect();
    // A pooler gives its clients process numbers of its own.
    if (
      (await this.#ask("pg_catalog.pg_backend_pid()")) !== String((this.#client as { processID?: unknown }).processID)
    )
      throw new Error("there is a pooler before the server; a relay needs a direct address to listen at");
    this.#isOpen = true;
  }

  /** The value of an expression as text, whatever parsers the application has given the driver. */
  async #ask(expression: string, values: string[] = []): Promise<string | undefined> {
    const text = `select (${expression})::pg_catalog.text as answer`;
    const { rows } = await this.#client.query<{ answer: string }>({
      text,
      values,
      types: { getTypeParser: () => String },
    });
    return rows[0]?.answer;
  }
}
