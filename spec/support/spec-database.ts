import { Pool, type PoolConfig, escapeIdentifier, type QueryResultRow } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "./eventually";
import { inVariant, variant } from "./variant";

export interface SpecDatabase {
  readonly schema: string;
  /** The server's address, with an application_name that identifies this file's connections. */
  readonly url: string;
  /** The address for pools, which differs in some variants. */
  readonly poolUrl: string;
  /** For observing and breaking things from outside. */
  readonly pool: Pool;
  sql<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  /**
   * Opens a backend on this file's schema, optionally by another address or as another role. It is closed after the
   * spec.
   */
  open(options?: PostgresResultBackendOptions, connection?: string | PoolConfig): Promise<PostgresResultBackend>;
  /** Registers another schema, which is dropped after the file's specs. */
  createSchema(name: string): void;
  /** This file's connections in pg_stat_activity, without those of `pool`. */
  connections(): Promise<{ pid: number; application_name: string; query: string; wait_event: string | null }[]>;
  /** The connections that a backend has to close: all but those that PgBouncer keeps open for others. */
  ownConnections(): Promise<unknown[]>;
  listeners(): Promise<number[]>;
  terminateListeners(): Promise<void>;
}

/** Creates and migrates a schema for a spec file and drops it at the end. After each spec no connection may be left. */
export function specDatabase(name: string, { migrated = true }: { migrated?: boolean } = {}): SpecDatabase {
  const server = process.env["DATABASE_URL"];
  if (server === undefined) throw new Error("DATABASE_URL is not set; specs run under Jest's global setup.");
  const schema = `spec ${name} ${process.pid}`;
  const applicationName = `spec ${name} ${process.pid}`.slice(0, 50);
  const url = withParameter(server, "application_name", applicationName);
  const { poolUrl, options: variantOptions } = inVariant(url);
  const pool = new Pool({
    connectionString: withParameter(server, "application_name", "spec admin"),
    max: 4,
    allowExitOnIdle: true,
  });
  pool.on("error", () => undefined);
  const schemas = new Set([schema]);
  const opened: PostgresResultBackend[] = [];

  const database: SpecDatabase = {
    schema,
    url,
    poolUrl,
    pool,
    createSchema: (extra) => void schemas.add(extra),
    sql: async <Row extends QueryResultRow>(text: string, values: unknown[] = []) =>
      (await pool.query<Row>(text, values)).rows,
    open: async (options, connection = poolUrl) => {
      const backend = await PostgresResultBackend.connect(connection, { schema, ...variantOptions, ...options });
      opened.push(backend);
      return backend;
    },
    connections: async () =>
      database.sql(
        "select pid, application_name, query, wait_event from pg_stat_activity where application_name like $1 || '%'",
        [applicationName],
      ),
    ownConnections: async () => (variant === "pgbouncer" ? database.listeners() : database.connections()),
    listeners: async () =>
      (await database.connections())
        .filter((each) => each.application_name.endsWith(" listener"))
        .map(({ pid }) => pid),
    terminateListeners: async () => {
      for (const pid of await database.listeners()) await database.sql("select pg_terminate_backend($1)", [pid]);
    },
  };

  beforeAll(async () => {
    if (!migrated) return;
    const backend = await PostgresResultBackend.connect(url, { schema });
    await backend.migrate();
    await backend.close();
  });
  afterEach(async () => {
    for (const backend of opened.splice(0)) {
      await backend.close();
      expect(backend.stats().waiting).toBe(0);
    }
    // The server takes a moment to notice that a client has gone.
    await eventually(async () => expect(await database.ownConnections()).toEqual([]));
  });
  afterAll(async () => {
    for (const each of schemas) await pool.query(`drop schema if exists ${escapeIdentifier(each)} cascade`);
    await pool.end();
  });
  return database;
}

export function withParameter(url: string, name: string, value: string): string {
  const changed = new URL(url);
  changed.searchParams.set(name, value);
  return changed.href;
}
