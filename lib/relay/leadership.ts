import { Client, type ClientConfig } from "pg";
import { Subject } from "rxjs";
import { type DedicatedConnection, type DedicatedSession, openDedicatedSession } from "../database/dedicated-session";
import type { SessionConfig } from "../database/session-config";
import type { NotificationSource } from "../notifications/notifier";
import { Supervisor } from "../notifications/supervisor";

export interface LeadershipReport {
  /** True while the session that holds or requests the lock is connected. */
  readonly isConnected: boolean;
  /** Number of sessions lost, or given up as dead. */
  readonly reconnects: number;
  /** Reason why it is not connected, in words; undefined while it is. */
  readonly problem: string | undefined;
}

/** Interval at which the lock is checked or requested: the longest time until a killed leader is noticed. */
const checkIntervalMs = 1_000;
const maxReconnectDelayMs = 5_000;
/** Longest time for one answer. Then the session is given up, well before the server ends it and releases its lock. */
const queryTimeoutMs = 2_000;

// With these settings the server detects within about ten seconds that a host has failed; by default that takes hours.
// The kernel still answers for a process that hangs, so the server also ends a session that is idle that long. A
// healthy session sends a query each second.
const sessionOptions =
  "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000 -c idle_session_timeout=10000";

/**
 * Ensures that only one relay of a schema leads: the one that holds the advisory lock. The lock is requested repeatedly
 * instead of waiting for it in the server, since a waiting statement keeps its snapshot and blocks vacuum.
 */
export class Leadership extends Supervisor<LockSession> {
  /** Emits when the lead or the report has changed. A lost lead is emitted at the moment it becomes uncertain. */
  readonly changes$ = new Subject<void>();
  readonly #config: SessionConfig;
  readonly #key: string;
  readonly #notifierGraceMs: number;
  #isLeader = false;
  #notifierLostAt: number | undefined = -Infinity;
  #reconnects = 0;
  #problem: string | undefined = "not connected yet";

  /**
   * Leads only while `notifier` is connected, and for a grace period after that, since another relay may be connected.
   */
  constructor(config: SessionConfig, schema: string, notifier: NotificationSource, notifierGraceMs: number) {
    super({ maxDelayMs: maxReconnectDelayMs, checkIntervalMs, keepsProcessAlive: true });
    this.#config = config;
    this.#key = `kojin-postgres relay ${schema}`;
    this.#notifierGraceMs = notifierGraceMs;
    notifier.status$.subscribe((status) => {
      if (status === "listening") this.#notifierLostAt = undefined;
      else this.#notifierLostAt ??= performance.now();
    });
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  /** Reason for the loss of the lead. */
  get lossReason(): string {
    return this.#problem ?? "the notifier is not connected";
  }

  get report(): LeadershipReport {
    return { isConnected: this.session !== undefined, reconnects: this.#reconnects, problem: this.#problem };
  }

  protected get isNeeded(): boolean {
    return true;
  }

  protected async connect(life: AbortController): Promise<LockSession> {
    return LockSession.open(this.#config.resolve(), this.#key, life);
  }

  protected async check(session: LockSession): Promise<void> {
    const mayLead = this.#mayLead();
    if (this.#isLeader && !mayLead) {
      this.#isLeader = false;
      this.changes$.next();
      await session.unlock();
    } else if (this.#isLeader || !mayLead) {
      await session.check();
    } else if ((await session.tryLock()) && session === this.session) {
      this.#isLeader = true;
      this.changes$.next();
    }
  }

  protected onConnected(): void {
    this.#problem = undefined;
    this.changes$.next();
    void this.checkNow();
  }

  /** Synchronously, before anything else, since another relay may already have the lock. */
  protected onLost({ message }: Error): void {
    this.#isLeader = false;
    this.#reconnects += 1;
    this.#problem = message;
    this.changes$.next();
  }

  protected onFailed({ message }: Error): void {
    this.#problem = message;
    this.changes$.next();
  }

  #mayLead(): boolean {
    if (this.#notifierLostAt === undefined) return true;
    return this.#isLeader && performance.now() - this.#notifierLostAt < this.#notifierGraceMs;
  }
}

/** A session that holds or requests one advisory lock. The lock ends with the session. */
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
   * Connects. Aborts `life` at the moment the connection is lost. Rejects when `life` is aborted, and behind a pooler,
   * where several clients would share the session and its lock.
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
    // A pooler gives its clients different process numbers.
    if ((await this.#evaluate("pg_catalog.pg_backend_pid()")) !== String(processID))
      throw new Error("the connection goes through a pooler, but a relay needs a direct address to listen on");
    this.#isOpen = true;
  }

  /** Requests the lock, and returns true if it is now held. Every success needs an {@link LockSession.unlock}. */
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
