import { escapeIdentifier } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { specDatabase, withParameter } from "../support/spec-database";

describe("objects with our names that another role has created before migrate", () => {
  const database = specDatabase("planted functions", { migrated: false });
  const schema = escapeIdentifier(database.schema);
  const role = `planter_${process.pid}`;
  const plants = [
    "function kojin_announce(channel text, name text, entries text[]) returns void language sql as ''",
    "function kojin_late() returns boolean language sql as 'select true'",
    "function kojin_finish_each(text) returns void language sql as ''",
    "sequence kojin_group_seq",
  ];

  const backends: PostgresResultBackend[] = [];

  beforeEach(async () => {
    await database.sql(`create role ${role}`);
  });
  afterEach(async () => {
    await database.sql(`drop schema ${schema} cascade`);
    await database.sql(`drop role ${role}`);
  });

  async function plant(what: string, owner = "current_user"): Promise<PostgresResultBackend> {
    await database.sql(`create schema ${schema} authorization ${owner}`);
    await database.sql(`grant usage, create on schema ${schema} to ${role}`);
    const client = await database.pool.connect();
    await client.query(`set role ${role}; create ${what.replace("kojin_", `${schema}.kojin_`)}; reset role`);
    client.release();
    return database.open({ listen: false });
  }

  it.each(plants)("are refused, and nothing is migrated: %s", async (what) => {
    const backend = await plant(what);
    await expect(backend.migrate()).rejects.toMatchObject({ sqlState: "42501", transient: false });
    await expect(backend.migrate()).rejects.toThrow(`belongs to the role ${role}`);
    expect(
      await database.sql("select from pg_tables where schemaname = $1 and tablename = 'kojin_results'", [
        database.schema,
      ]),
    ).toEqual([]);
  });

  it("are refused where there are tables of the Rust crate", async () => {
    const backend = await plant(plants[0] ?? "");
    await database.sql(
      `create table ${schema}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await expect(backend.migrate()).rejects.toThrow(`belongs to the role ${role}`);
  });

  it("are replaced by a member of the role that owns them", async () => {
    const member = `${role}_member`;
    await database.sql(`create role ${member} in role ${role}`);
    await database.sql(`create schema ${schema}`);
    await database.sql(`grant usage, create on schema ${schema} to ${role}`);
    const open = async (name: string): Promise<PostgresResultBackend> => {
      const url = withParameter(database.url, "options", `-c role=${name}`);
      const backend = await PostgresResultBackend.connect(url, { schema: database.schema, listen: false });
      backends.push(backend);
      return backend;
    };
    await (await open(role)).migrate();
    await database.sql(`delete from ${schema}.kojin_migrations where version = 2`);
    await (await open(member)).migrate();
    for (const backend of backends.splice(0)) await backend.close();
    await database.sql(`drop schema ${schema} cascade`);
    await database.sql(`create schema ${schema}`);
    await database.sql(`drop role ${member}`);
  });

  it("are taken over where that role owns the schema", async () => {
    const backend = await plant(plants[0] ?? "", role);
    await backend.migrate();
    await backend.store("t", 1);
    expect(await backend.get("t")).toBe(1);
  });
});
