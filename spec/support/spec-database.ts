import { Pool, type PoolConfig, escapeIdentifier, type QueryResultRow } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "./eventually";
import { inVariant, variant } from "./variant";

export interface SpecDatabase {
  readonly schema: string;
  /** The address of the server, with an application_name by which this file's connections are known. */
  readonly url: string;
  /** The address for pools, which in some variants of the specs is another. */
  readonly poolUrl: string;
  /** For looking at, and breaking, things from outside. */
  readonly pool: Pool;
  sql<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  /** A backend on this file's schema, maybe by another way to the server or as another role; closed after the spec. */
  open(options?: PostgresResultBackendOptions, connection?: string | PoolConfig): Promise<PostgresResultBackend>;
  /** Another schema, dropped after the file's specs. */
  createSchema(name: string): void;
  /** What pg_stat_activity shows of this file's connections (not those of `pool`). */
  connections(): Promise<{ pid: number; application_name: string; query: string; wait_event: string | null }[]>;
  /** Those of them that a backend has to end: not what PgBouncer keeps open for others. */
  ownConnections(): Promise<unknown[]>;
  listeners(): Promise<number[]>;
  terminateListeners(): Promise<void>;
}

/** A schema of its own for a spec file, migrated, and dropped at the end. After each spec nothing of it may be left connected. */
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
