import { escapeIdentifier } from "pg";
import type { QueueTable } from "kojin-postgres";
import type { SpecDatabase } from "../../support/spec-database";

/** How the table is described. */
export const described = {
  id: "id",
  succeeded: "state = 'completed' -- the last state",
  failed: "state = 'failed'",
  result: "output",
  error: "error",
} as const;

/** A queue of the application: a table of jobs in a schema of its own, as another library would create it. */
export class JobsTable {
  readonly #database: SpecDatabase;
  readonly schema: string;
  readonly table: string;
  readonly queue: QueueTable;
  /** Qualified and quoted. */
  readonly name: string;

  constructor(database: SpecDatabase, schema: string, table: string) {
    this.#database = database;
    this.schema = schema;
    this.table = table;
    this.queue = { table, ...described };
    this.name = `${escapeIdentifier(schema)}.${escapeIdentifier(table)}`;
    database.createSchema(schema);
  }

  /** @param rest - What follows the columns. */
  async create(rest = "", key = "primary key"): Promise<this> {
    await this.#database.sql(`create schema if not exists ${escapeIdentifier(this.schema)}`);
    await this.#database.sql(
      `create table ${this.name} (
         id text ${key}, state text not null default 'created', attempt int not null default 1, output json, error jsonb
       ) ${rest}`,
    );
    return this;
  }

  async add(...ids: readonly string[]): Promise<void> {
    await this.#database.sql(`insert into ${this.name} (id) select unnest($1::text[])`, [ids]);
  }

  async complete(id: string, output: unknown = null): Promise<void> {
    await this.#database.sql(`update ${this.name} set state = 'completed', output = $2 where id = $1`, [
      id,
      JSON.stringify(output),
    ]);
  }

  async fail(id: string, error: unknown): Promise<void> {
    await this.#database.sql(`update ${this.name} set state = 'failed', error = $2 where id = $1`, [
      id,
      JSON.stringify(error),
    ]);
  }

  async states(): Promise<Record<string, string>> {
    const rows = await this.#database.sql<{ id: string; state: string }>(`select id, state from ${this.name}`);
    return Object.fromEntries(rows.map(({ id, state }) => [id, state]));
  }
}
