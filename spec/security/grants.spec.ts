import { readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { specDatabase } from "../support/spec-database";
import { Logins } from "./support/logins";

describe("rights that default privileges grant", () => {
  const database = specDatabase("default privileges", { migrated: false });
  const logins = new Logins(database);
  const anon = logins.name("anon");
  const schema = escapeIdentifier(database.schema);

  beforeAll(async () => {
    await logins.create("anon");
    await database.sql(`create schema ${schema}`);
    await database.sql(`grant usage on schema ${schema} to ${anon}`);
    // As hosts of Postgres do for the roles of their HTTP interfaces.
    await database.sql(`alter default privileges in schema ${schema} grant execute on functions to ${anon}`);
    await database.sql(`alter default privileges in schema ${schema} grant all on tables to ${anon}`);
    await database.sql(
      `create table ${schema}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await (await database.open()).migrate();
  });

  /** Functions that another role may execute, except those that every role may execute with its own rights. */
  const executable = async (): Promise<unknown[]> =>
    database.sql(
      `select proname as name from pg_proc
       where pronamespace = $1::regnamespace and has_function_privilege($2, oid, 'execute')
         and proname <> all ('{kojin_announce, kojin_results_notify, kojin_results_foreign_update, kojin_late, kojin_check_due, kojin_end_each, kojin_store_row,
           kojin_store_each, kojin_finish_each, kojin_check_id, kojin_check_ttl, kojin_failure, kojin_store, kojin_fail, kojin_store_outcome, kojin_complete_member, kojin_fail_member, kojin_finish_member, kojin_emit, kojin_emit_each, kojin_expect}')`,
      [schema, anon],
    );
  const withTriggerRight = async (): Promise<unknown[]> =>
    database.sql(
      `select relname as name from pg_class where relnamespace = $1::regnamespace and relkind = 'r' and has_table_privilege($2, oid, 'trigger')`,
      [schema, anon],
    );

  it("include no function that runs as its owner, nor TRIGGER on a table, once migrate has run", async () => {
    expect(await executable()).toEqual([]);
    expect(await withTriggerRight()).toEqual([]);
  });

  it("include all the same what tables grant to read and write, which is the policy of the host", async () => {
    const [row] = await database.sql(`select has_table_privilege($1, '${schema}.kojin_results', 'select') as can`, [
      anon,
    ]);
    expect(row).toEqual({ can: true });
  });

  it("are revoked again by roles.sql after everything was granted", async () => {
    await database.sql(`grant all on all tables in schema ${schema} to ${anon}`);
    await database.sql(`grant execute on all functions in schema ${schema} to public, ${anon}`);
    const names = { storer: logins.name("storer"), waiter: logins.name("waiter"), janitor: logins.name("janitor") };
    const text = readFileSync(join(__dirname, "..", "..", "sql", "roles.sql"), "utf8").replaceAll(
      "public",
      () => schema,
    );
    await database.pool.query(
      Object.entries(names).reduce((replaced, [what, name]) => replaced.replaceAll(`kojin_${what}`, name), text),
    );
    expect(await executable()).toEqual([]);
    expect(await withTriggerRight()).toEqual([]);
  });
});
