import { escapeIdentifier, escapeLiteral } from "pg";
import type { SqlClient } from "../result-backend";
import type { Migration } from "./migration-files";

/** The contents of the version table. */
export interface SchemaState {
  /** The version of the tables; 0 if nothing was migrated yet. */
  readonly version: number;
  /** The last step of a migration that has not ended; null if there is none. */
  readonly migrating: string | null;
  /** The last step of a recount that has not ended; null if there is none. */
  readonly recounting: string | null;
}

export const nothingMigrated: SchemaState = { version: 0, migrating: null, recounting: null };

/** Rows with these versions do not name migrations, but the last step of work under way. */
const progressVersions = { migration: 0, recount: -1 } as const;

type Work = keyof typeof progressVersions;

/**
 * The table that records which migrations were applied. Names are qualified, so no setting of the session is needed.
 */
export class VersionTable {
  readonly createSql: string;
  readonly #schema: string;
  readonly #name: string;

  constructor(schema: string) {
    this.#schema = schema;
    this.#name = `${escapeIdentifier(schema)}.kojin_migrations`;
    this.createSql = `create table if not exists ${this.#name} (
  version int primary key,
  name pg_catalog.text not null,
  applied_at timestamp with time zone not null default pg_catalog.now()
)`;
  }

  /** Reads the table if there is one: an error would end the transaction. */
  async readIfPresent(client: SqlClient): Promise<SchemaState> {
    return (await hasTables(client, this.#schema, ["kojin_migrations"])) ? this.read(client) : nothingMigrated;
  }

  async read(client: SqlClient): Promise<SchemaState> {
    const { rows } = await client.query(
      `select greatest(coalesce(pg_catalog.max(version), 0), 0)::pg_catalog.text as version,
         pg_catalog.max(name) filter (where version operator(pg_catalog.=) ${progressVersions.migration}) as migrating,
         pg_catalog.max(name) filter (where version operator(pg_catalog.=) ${progressVersions.recount}) as recounting
       from ${this.#name}`,
      [],
    );
    const [{ version, migrating, recounting } = {}] = rows as { [Column in keyof SchemaState]?: string | null }[];
    return { version: Number(version), migrating: migrating ?? null, recounting: recounting ?? null };
  }

  /** Records the last step of work under way. */
  async recordStep(client: SqlClient, work: Work, step: string): Promise<void> {
    await client.query(
      `insert into ${this.#name} (version, name) values ($1::int, $2::pg_catalog.text)
       on conflict (version) do update set name = excluded.name`,
      [progressVersions[work], step],
    );
  }

  async forgetSteps(client: SqlClient, work: Work): Promise<void> {
    const text = `delete from ${this.#name} where version operator(pg_catalog.=) $1::int`;
    await client.query(text, [progressVersions[work]]);
  }

  async recordMigration(client: SqlClient, migration: Pick<Migration, "version" | "name">): Promise<void> {
    await client.query(this.recordSql(migration), []);
  }

  recordSql({ version, name }: Pick<Migration, "version" | "name">): string {
    return `insert into ${this.#name} (version, name) values (${version}, ${escapeLiteral(name)}) on conflict (version) do nothing;`;
  }
}

/**
 * Tells whether any of the tables exists. Asks the catalog: `to_regclass` answers from a cache of the session, which
 * may be older than a wait for a lock.
 */
export async function hasTables(client: SqlClient, schema: string, names: readonly string[]): Promise<boolean> {
  const { rows } = await client.query(
    `select from pg_catalog.pg_class as relation
     join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
     where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name and relation.relname operator(pg_catalog.=) any ($2::pg_catalog.name[])`,
    [schema, [...names]],
  );
  return rows.length > 0;
}
