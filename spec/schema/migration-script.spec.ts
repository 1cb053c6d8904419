import { escapeIdentifier } from "pg";
import { migrationScript } from "kojin-postgres";
import { migrations } from "../../lib/schema/migration-files";
import { specDatabase } from "../support/spec-database";
import { createCrateTables } from "./support/crate-tables";

describe("planMigration and migrationScript", () => {
  const database = specDatabase("migration script", { migrated: false });
  let counter = 0;

  function freshSchema(): string {
    counter += 1;
    const schema = `${database.schema} "$$\\${counter}'\n`;
    database.createSchema(schema);
    return schema;
  }

  it("say what migrate() would run, and change nothing", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    const plan = await backend.planMigration();
    expect(plan).toMatchObject({ schema, version: 0, pending: migrations.map(({ name }) => ({ name })) });
    expect(await database.sql("select from pg_namespace where nspname = $1", [schema])).toEqual([]);
    const { applied, version } = await backend.migrate();
    expect(plan).toMatchObject({ pending: applied, latestVersion: version });
    expect(await backend.planMigration()).toEqual({ ...plan, version, pending: [], disabledTriggers: [] });
  });

  it("name triggers that would be enabled", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    await backend.migrate();
    const results = `${escapeIdentifier(schema)}.kojin_results`;
    await database.sql(`alter table ${results} disable trigger kojin_results_notify_insert`);
    await database.sql(`alter table ${results} enable replica trigger kojin_results_notify_update`);
    const { disabledTriggers } = await backend.planMigration();
    expect(disabledTriggers).toEqual(["kojin_results_notify_insert", "kojin_results_notify_update"]);
    expect((await backend.migrate()).repaired).toEqual(disabledTriggers);
  });

  it("give a script that does the same as migrate(), and may be run twice", async () => {
    const schema = freshSchema();
    const script = migrationScript({ schema });
    await database.sql(script);
    const backend = await database.open({ schema });
    expect(await backend.planMigration()).toMatchObject({ pending: [], disabledTriggers: [] });
    await backend.store("t", 1);
    await database.sql(script);
    expect((await backend.migrate()).applied).toEqual([]);
    expect(await backend.get("t")).toBe(1);
    expect(await backend.health()).toMatchObject({ ok: true });
  });

  it("give a script for psql whose statements let writers go on, and that may be run twice", async () => {
    const schema = freshSchema();
    await createCrateTables(database, schema);
    await database.sql(
      `insert into ${escapeIdentifier(schema)}.kojin_groups (group_id, task_id, result, completed) values ('g', 'g:placeholder:0', null, false), ('g', 'a', '1', true)`,
    );
    // As psql does: one statement at a time, on one session.
    const statements =
      migrationScript({ schema, online: true }).match(
        /(?:\$(\w*)\$[^]*?\$\1\$|\bE?'(?:[^'\\]|''|\\[^])*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|[^;])+;/g,
      ) ?? [];
    expect(statements.filter((text) => text.includes("create index concurrently")).length).toBeGreaterThan(2);
    const session = await database.pool.connect();
    for (const text of [...statements, ...statements]) await session.query(text);
    session.release(true);
    const backend = await database.open({ schema });
    expect(await backend.planMigration()).toMatchObject({ pending: [], disabledTriggers: [] });
    expect(await backend.waitGroup("g", 20_000)).toEqual([1]);
    await backend.store("t", 1);
    expect(await backend.health()).toMatchObject({ ok: true });
  });

  it("give only what is newer than a version", async () => {
    const [first] = migrations;
    const rest = migrationScript({ after: first?.version ?? 0 });
    expect(rest).not.toContain(`'${first?.name ?? ""}'`);
    expect(rest).toContain("'0002_groups'");
    expect(migrationScript({ after: 999 })).toBe("");
    expect(() => migrationScript({ after: -1 })).toThrow(RangeError);
    expect(() => migrationScript({ schema: "" })).toThrow(RangeError);
    await Promise.resolve();
  });

  it("refuse to plan where the schema is newer than this package", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    await backend.migrate();
    await database.sql(
      `insert into ${escapeIdentifier(schema)}.kojin_migrations (version, name) values (999, 'future')`,
    );
    await expect(backend.planMigration()).rejects.toMatchObject({ code: "SCHEMA", reason: "newer" });
  });
});
