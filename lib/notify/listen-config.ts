import { type ClientConfig, Client, type Pool, type PoolConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";

/** How a listener connects: to the address given for it, or else to that of the pool. */
export function listenConfig(pool: Pool, connection?: string | PoolConfig): ClientConfig {
  // The pool hides its password from enumeration, so that it is not printed with the rest.
  const given = connection ?? { ...pool.options, password: pool.options.password };
  const { connectionString, ...rest } = typeof given === "string" ? { connectionString: given } : given;
  // Taken apart here, since the driver lets what is in the address win over what is beside it.
  const config: ClientConfig = {
    ...rest,
    ...(connectionString === undefined ? {} : parseIntoClientConfig(connectionString)),
  };
  // An operator should see in pg_stat_activity which connection is which. Postgres cuts off what is longer than 63 bytes.
  return { ...config, application_name: `${(config.application_name ?? "kojin-postgres").slice(0, 54)} listener` };
}

/** Equal for two configurations that reach the same database as the same user, with the driver's defaults and environment variables filled in. */
export function listenIdentity(config: ClientConfig): string {
  // A client that never connects, since only the driver knows its defaults. Without the factory: making a stream may open one.
  const idle = { ...config };
  delete idle.stream;
  const { user, host, port, database } = new Client(idle);
  return JSON.stringify([user, host, port, database, Boolean(config.ssl), config.application_name]);
}
