import { Pool, type PoolClient, type PoolConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";
import { typeName } from "../value/arguments";
import { destroySocket } from "./pooled-client";

/** How long a pool may take to end politely. */
const farewellMs = 1_000;

/** A pool that this package made, and so has to end. */
export class OwnPool {
  readonly pool: Pool;
  readonly #clients = new Set<PoolClient>();

  /** @throws TypeError The connection is neither a configuration nor an address of PostgreSQL. */
  constructor(connection: string | PoolConfig) {
    this.pool = new Pool({
      // Two batches of stores and two of reads, and one to spare.
      max: 5,
      // Each of the driver's own limits is `none`.
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      maxLifetimeSeconds: 1_800,
      // An idle connection alone is no reason for a process to go on.
      allowExitOnIdle: true,
      application_name: "kojin-postgres",
      ...toPoolConfig(connection),
    });
    // An idle connection that dies leaves the pool by itself, but an error event without a listener ends the process.
    this.pool.on("error", () => undefined);
    this.pool.on("connect", (client) => this.#clients.add(client));
    this.pool.on("remove", (client) => this.#clients.delete(client));
  }

  async end(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, farewellMs)));
    await Promise.race([this.pool.end().catch(() => undefined), tooLong]);
    clearTimeout(timer);
    // On a dead connection the driver would wait until TCP gives up.
    for (const client of this.#clients) destroySocket(client);
  }
}

function toPoolConfig(connection: unknown): PoolConfig {
  if (typeof connection === "object" && connection !== null) return connection;
  if (typeof connection !== "string")
    throw new TypeError(`connection: expected an address or a configuration, got ${typeName(connection)}.`);
  // The address itself is not repeated in the message: it holds a password.
  const expected = "connection: expected an address such as postgres://user@host:5432/database";
  if (!/^(postgres|postgresql|socket):|^\//i.test(connection)) throw new TypeError(`${expected}.`);
  try {
    return parseIntoClientConfig(connection);
  } catch (error) {
    throw new TypeError(`${expected}: ${error instanceof Error ? error.message : String(error)}.`, { cause: error });
  }
}
