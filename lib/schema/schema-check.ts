import { escapeIdentifier, escapeLiteral } from "pg";
import { notMigratedMessage } from "../database/backend-error";
import type { Database } from "../database/database";
import { withTimeLimit } from "../database/race";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import type { SqlClient } from "../result-backend";
import { latestVersion, type Migration } from "./migration-files";

const purpose = "check the schema";

/** Checks once that the tables have the version of this package, before anything else is sent. */
export class SchemaCheck {
  readonly #database: Database;
  readonly #schema: string;
  readonly #table: VersionTable;
  #isGood = false;
  #checking: Promise<void> | undefined;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
    this.#table = new VersionTable(schema);
  }

  /** True once the check has passed, so that there is nothing to wait for. */
  get isGood(): boolean {
    return this.#isGood;
  }

  /** @throws {@link SchemaError} The tables are missing, older, or newer. The next call checks again. */
  async pass(timeoutMs: number): Promise<void> {
    if (this.#isGood) return;
    this.#checking ??= this.#check(timeoutMs).finally(() => (this.#checking = undefined));
    await withTimeLimit(this.#checking, timeoutMs, () => {
      const message = `Could not ${purpose}: no answer within ${Math.round(timeoutMs)} ms.`;
      throw new DatabaseError(message, undefined, true);
    });
  }

  /**
   * Reads the version of the tables; undefined if this role may not read it.
   *
   * @throws {@link SchemaError} There is no version table.
   */
  async version(timeoutMs: number): Promise<number | undefined> {
    return (await this.state(timeoutMs))?.version;
  }

  /** Reads the version table, as {@link SchemaCheck.version} does. */
  async state(timeoutMs: number): Promise<SchemaState | undefined> {
    try {
      return await this.#database.session(purpose, timeoutMs, async (client) => this.#table.read(client));
    } catch (error) {
      if (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege) return undefined;
      throw error;
    }
  }

  async #check(timeoutMs: number): Promise<void> {
    const state = await this.state(timeoutMs);
    // A role that may not read the version may still have the rights for its work. If not, that work fails with the
    // reason.
    if (state !== undefined) this.#compare(state);
    this.#isGood = true;
  }

  #compare({ version, migrating }: SchemaState): void {
    refuseNewer(this.#schema, version);
    if (version === latestVersion) return;
    if (migrating === null) {
      const reason = version === 0 ? "missing" : "outdated";
      throw new SchemaError(this.#schema, reason, notMigratedMessage(this.#schema));
    }
    const message = `Schema "${this.#schema}" is being migrated, or a migration of it was interrupted (last step: ${migrating}). Wait until it ends, or call backend.migrate() to continue it.`;
    throw new SchemaError(this.#schema, "outdated", message);
  }
}

/** @throws {@link SchemaError} The tables are newer than this package. */
export function refuseNewer(schema: string, version: number): void {
  if (version <= latestVersion) return;
  const message = `Schema "${schema}" has version ${version}, this kojin-postgres knows versions up to ${latestVersion}: upgrade the package here.`;
  throw new SchemaError(schema, "newer", message);
}

/** The contents of the version table. */
interface SchemaState {
  /** The version of the tables; 0 if nothing was migrated yet. */
  readonly version: number;
  /** The last step of a migration that has not ended; null if there is none. */
  readonly migrating: string | null;
  /** The last step of a recount that has not ended; null if there is none. */
  readonly recounting: string | null;
}

export const nothingMigrated: SchemaState = { version: 0, migrating: null, recounting: null };

/** Versions of rows that record the last step of running work instead of a migration. */
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

  /** Reads the table if it exists, since an error would end the transaction. */
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

  /** Records the last step of running work. */
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
 * Tells whether any of the tables exists. Queries the catalog, since `to_regclass` answers from a cache of the session
 * that may be outdated after a wait for a lock.
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
