import { Client, type ClientConfig, type PoolConfig } from "pg";
import { parse } from "pg-connection-string";
import type { ConnectionPool } from "./connection";

/** The purpose of a session outside the pool, as the end of its name in `pg_stat_activity`. */
export type SessionRole = "listener" | "relay";

/**
 * Options of a pool that do not affect which server a session reaches: those of the pool itself, and those for queries.
 */
const poolOptions: ReadonlySet<string> = new Set([
  ...["allowExitOnIdle", "connectionTimeoutMillis", "idleTimeoutMillis", "log", "max", "maxLifetimeSeconds", "maxUses"],
  ...["min", "onConnect", "poolSize", "Promise", "query_timeout", "statement_timeout", "types", "verify"],
]);
/** Options that the driver never takes from an address. */
const driverOptions: ReadonlySet<string> = new Set([
  ...["binary", "connection", "enableChannelBinding", "keepAlive", "keepAliveInitialDelayMillis", "pipeline"],
  ...["scramMaxIterations", "stream"],
]);

/**
 * Configuration of sessions outside the pool: from their own address, or else from the pool. It is resolved for each
 * attempt, as the driver does for each connection, since the environment and certificate files may have changed.
 */
export class SessionConfig {
  readonly #given: PoolConfig | undefined;
  readonly #isPools: boolean;
  readonly #role: SessionRole;

  constructor(pool: ConnectionPool, connection: string | PoolConfig | undefined, role: SessionRole) {
    const { options } = pool as { readonly options?: PoolConfig };
    // The pool makes its password non-enumerable, so that it is not printed with the rest.
    const ofPool = isObject(options) ? { ...options, password: options.password } : undefined;
    this.#given = typeof connection === "string" ? { connectionString: connection } : (connection ?? ofPool);
    this.#isPools = connection === undefined;
    this.#role = role;
  }

  /** Returns the configuration for the driver. Throws if it is not certain to lead to the pool's server. */
  resolve(): ClientConfig {
    const config = this.#takeApart().config;
    const { options, application_name: name } = parametersOf(config);
    return {
      ...config,
      // Named here, since the session adds its own: an option in the configuration hides PGOPTIONS.
      ...(options === undefined ? {} : { options }),
      // An operator sees in pg_stat_activity which connection is which. Postgres cuts off what is longer than 63 bytes.
      application_name: `${(name ?? "kojin-postgres").slice(0, 54)} ${this.#role}`,
    };
  }

  /**
   * Returns everything that determines the server and the authentication of a session, for `areSameValues`. Returns
   * undefined if that is unknown.
   */
  identity(): object | undefined {
    try {
      const { config, isTlsOfAddress } = this.#takeApart();
      const { user, host, port, database, password, options, application_name, ssl } = parametersOf(config);
      // The TLS functions of an address are created each time, from parameters that are also compared.
      const tls = isTlsOfAddress && isObject(ssl) ? withoutFunctions(ssl) : ssl;
      return { ...config, user, host, port, database, password, options, application_name, ssl: tls, role: this.#role };
    } catch {
      return undefined;
    }
  }

  #takeApart(): { config: ClientConfig; isTlsOfAddress: boolean } {
    const given = this.#given;
    if (given === undefined)
      throw new Error("The pool does not say how it connects; give `listen: { connection }` an address");
    if ("connection" in given || (this.#isPools && isObject(given.stream)))
      throw new Error("The pool's only stream cannot be shared; give `listen: { connection }` an address");
    // In the driver, parameters of the address would override options beside it.
    const { connectionString, ...rest } = given;
    const parsed = connectionString === undefined ? {} : without(parse(connectionString), driverOptions);
    const config = without({ ...rest, password: given.password, ...parsed }, poolOptions);
    return { config, isTlsOfAddress: "ssl" in parsed };
  }
}

/**
 * Returns the connection settings that the driver derives from a configuration, its defaults and the environment. Its
 * types do not declare them.
 */
function parametersOf(config: ClientConfig): ClientConfig {
  // Uses a client that never connects, without the application's stream, since creating a stream may open it.
  const client: unknown = new Client(without(config, new Set(["stream"])));
  return (client as { connectionParameters: ClientConfig }).connectionParameters;
}

const without = (entries: object, names: ReadonlySet<string>): ClientConfig =>
  Object.fromEntries(Object.entries(entries).filter(([name]) => !names.has(name)));

const withoutFunctions = (entries: object): object =>
  Object.fromEntries(Object.entries(entries).filter(([, value]) => typeof value !== "function"));

/** Deeper than any configuration; a value that contains itself ends here. */
const maxDepth = 8;

/**
 * Tells whether two configurations certainly mean the same. Compares plain objects, arrays and bytes by contents, and
 * functions and class instances by identity, since functions with the same text can close over different values. Node's
 * `isDeepStrictEqual` calls getters, compares instances by contents, and skips non-enumerable entries.
 */
export function areSameValues(one: unknown, other: unknown, depth = 0): boolean {
  if (Object.is(one, other)) return true;
  if (depth === maxDepth || !isObject(one) || !isObject(other)) return false;
  const prototype: unknown = Object.getPrototypeOf(one);
  if (prototype !== Object.getPrototypeOf(other)) return false;
  if (one instanceof Uint8Array && other instanceof Uint8Array) return Buffer.compare(one, other) === 0;
  if (prototype !== Object.prototype && prototype !== null && prototype !== Array.prototype) return false;
  // Includes non-enumerable entries, since the driver hides passwords and private keys in this way.
  const keys = new Set([...Reflect.ownKeys(one), ...Reflect.ownKeys(other)]);
  return [...keys].every((key) => {
    const [mine, theirs] = [Object.getOwnPropertyDescriptor(one, key), Object.getOwnPropertyDescriptor(other, key)];
    // A getter can return another value each time.
    return mine?.get === theirs?.get && areSameValues(mine?.value, theirs?.value, depth + 1);
  });
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
