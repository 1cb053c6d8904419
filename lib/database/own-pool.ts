import { defaults, Pool, type PoolClient, type PoolConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";
import { typeName } from "../value/arguments";
import { destroySocket } from "./connection";
import { mayConcernOptions } from "./dedicated-session";
import { settledWithin } from "./race";
import { longestAttemptMs } from "./retry";
import { sqlStateOf } from "./sql-states";

/** Longest time for a pool to end by itself. On a dead connection the driver would wait until TCP gives up. */
const endTimeoutMs = 1_000;

/**
 * Longest time for a statement on the server, which ends statements that no cancel request could reach. Twice the time
 * of an attempt, since reads of large results continue as long as bytes arrive.
 */
const statementTimeoutMs = 2 * longestAttemptMs;

type OnConnect = Parameters<Pool["connect"]>[0];

/** A pool whose sessions start with a statement timeout, except if a pooler refuses it. */
class LimitedPool extends Pool {
  override connect(): Promise<PoolClient>;
  override connect(callback: OnConnect): void;
  override connect(callback?: OnConnect): Promise<PoolClient> | undefined {
    if (callback !== undefined) {
      this.#connect(callback);
      return undefined;
    }
    return new Promise((resolve, reject) => {
      this.#connect((error, client) => {
        if (client === undefined) reject(error ?? new Error("The pool gave no connection."));
        else resolve(client);
      });
    });
  }

  #connect(callback: OnConnect): void {
    // The driver gives these options to each new client.
    const { options } = this;
    const limit = options.statement_timeout;
    super.connect((error, client, release) => {
      if (limit !== statementTimeoutMs || !mayConcernOptions(sqlStateOf(error))) {
        callback(error, client, release);
        return;
      }
      delete options.statement_timeout;
      super.connect((again, second, releaseSecond) => {
        // Something else was refused.
        if (second === undefined) options.statement_timeout = limit;
        callback(again, second, releaseSecond);
      });
    });
  }
}

/** A pool that this package creates, and has to end. */
export class OwnPool {
  readonly pool: Pool;
  readonly #clients = new Set<PoolClient>();

  /**
   * @param pipeline - Lets a statement be sent before the one ahead of it is answered.
   * @throws TypeError The connection is neither a configuration nor an address of PostgreSQL.
   */
  constructor(connection: string | PoolConfig, pipeline = false) {
    const config = toPoolConfig(connection);
    this.pool = new LimitedPool({
      // Two connections for stores, two for reads, and one more.
      max: 5,
      // Each of the driver's own limits is `none`.
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      maxLifetimeSeconds: 1_800,
      // Idle connections must not keep the process alive.
      allowExitOnIdle: true,
      application_name: "kojin-postgres",
      pipeline,
      ...(hasStatementTimeout(config) ? {} : { statement_timeout: statementTimeoutMs }),
      ...config,
    });
    // An idle connection that dies leaves the pool by itself, but an error event without a listener ends the process.
    this.pool.on("error", () => undefined);
    this.pool.on("connect", (client) => this.#clients.add(client));
    this.pool.on("remove", (client) => this.#clients.delete(client));
  }

  async end(): Promise<void> {
    await settledWithin(this.pool.end(), endTimeoutMs);
    for (const client of this.#clients) destroySocket(client);
  }
}

/** Tells whether the application has set its own limit, which may also be none. */
function hasStatementTimeout(config: PoolConfig): boolean {
  const { connectionString } = config;
  const ofAddress = connectionString === undefined ? {} : parseIntoClientConfig(connectionString);
  const given: PoolConfig = { ...config, ...ofAddress };
  if (given.statement_timeout !== undefined || Boolean(defaults.statement_timeout)) return true;
  // The parameter would win over these.
  return /statement[-_]timeout/i.test([given.options, process.env["PGOPTIONS"], defaults.options].join(" "));
}

function toPoolConfig(connection: unknown): PoolConfig {
  if (typeof connection === "object" && connection !== null) return connection;
  if (typeof connection !== "string")
    throw new TypeError(`connection: expected an address or a configuration, got ${typeName(connection)}.`);
  // The address itself is not repeated in the message: it holds a password.
  const expected = "connection: expected an address such as postgres://user@host:5432/database";
  if (connection.trim() === "") throw new TypeError(`${expected}, got an empty string.`);
  if (!/^(postgres|postgresql|socket):|^\//i.test(connection)) throw new TypeError(`${expected}.`);
  try {
    return parseIntoClientConfig(connection);
  } catch (error) {
    throw new TypeError(`${expected}: ${error instanceof Error ? error.message : String(error)}.`, { cause: error });
  }
}
