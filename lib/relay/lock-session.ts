import { Client, type ClientConfig } from "pg";
import { type DedicatedConnection, type DedicatedSession, openDedicatedSession } from "../database/dedicated-session";

/** For one answer, after which the session is given up: well before the server does so, and gives its lock away. */
const queryTimeoutMs = 2_000;

// With these the server notices within about ten seconds that a host has vanished; by its defaults it takes hours. The
// kernel still answers for a process that hangs, so the server also ends a session that is idle for as long: a healthy
// one sends a query each second.
const sessionOptions =
  "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000 -c idle_session_timeout=10000";

/** A session that holds one advisory lock, or tries for it. The lock ends with the session, however that ends. */
export class LockSession implements DedicatedSession {
  readonly #connection: DedicatedConnection;
  readonly #client: Client;
  readonly #key: string;
  #isOpen = false;

  private constructor(connection: DedicatedConnection, key: string, life: AbortController) {
    this.#connection = connection;
    this.#key = key;
    this.#client = new Client(connection.config);
    const lose = (error: Error): void => {
      if (this.#isOpen) life.abort(error);
      this.#isOpen = false;
    };
    this.#client.on("error", lose);
    this.#client.on("end", () => lose(new Error("The server has ended the connection")));
  }

  /**
   * Connects. Aborts `life` in the moment in which the connection breaks. Rejects when `life` is aborted, and behind a
   * pooler: it is unknown which client holds a lock of a session that is handed around.
   */
  static async open(config: ClientConfig, key: string, life: AbortController): Promise<LockSession> {
    return openDedicatedSession(
      { config, sessionOptions, queryTimeoutMs, signal: life.signal },
      (connection) => new LockSession(connection, key, life),
    );
  }

  async connect(): Promise<void> {
    await this.#client.connect();
    const { processID } = this.#client as { processID?: unknown };
    // A pooler gives its clients process numbers of its own.
    if ((await this.#evaluate("pg_catalog.pg_backend_pid()")) !== String(processID))
      throw new Error("there is a pooler before the server; a relay needs a direct address to listen at");
    this.#isOpen = true;
  }

  /**
   * Tries for the lock, and returns whether it is held from now on. Every success needs an {@link LockSession.unlock}.
   */
  async tryLock(): Promise<boolean> {
    const text = "pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1::pg_catalog.text, 0))";
    return (await this.#evaluate(text, [this.#key])) === "true";
  }

  async unlock(): Promise<void> {
    const text = "select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1::pg_catalog.text, 0))";
    await this.#client.query(text, [this.#key]);
  }

  /** Rejects if the server does not answer in time. */
  async check(): Promise<void> {
    await this.#client.query("select 1");
  }

  async dispose(): Promise<void> {
    this.#isOpen = false;
    await this.#connection.end(this.#client.end());
  }

  /** Returns the value of an expression as text, whatever parsers the application has set in the driver. */
  async #evaluate(expression: string, values: string[] = []): Promise<string | undefined> {
    const { rows } = await this.#client.query<{ answer: string }>({
      text: `select (${expression})::pg_catalog.text as answer`,
      values,
      types: { getTypeParser: () => String },
    });
    return rows[0]?.answer;
  }
}
