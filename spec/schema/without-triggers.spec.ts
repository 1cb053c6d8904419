import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { type MigrationReport, migrationScript, SchemaError } from "kojin-postgres";
import { migrations } from "../../lib/schema/migration-files";
import { specDatabase } from "../support/spec-database";

const plain = ["0001_results", "0002_groups", "0003_without_triggers"];
const namesOf = ({ applied }: Pick<MigrationReport, "applied">): string[] => applied.map(({ name }) => name);

describe("migrate({ triggers: false })", () => {
  const database = specDatabase("without triggers", { migrated: false });
  let counter = 0;

  function freshSchema(): string {
    counter += 1;
    const schema = `${database.schema} "$$${counter}'`;
    database.createSchema(schema);
    return schema;
  }
  const leftIn = async (schema: string): Promise<unknown[]> =>
    database.sql(
      `select tgname as name from pg_trigger join pg_class on pg_class.oid = tgrelid where relnamespace = $1::regnamespace
       union all select proname from pg_proc where pronamespace = $1::regnamespace
       union all select relname from pg_class where relnamespace = $1::regnamespace and relkind = 'S'`,
      [escapeIdentifier(schema)],
    );

  it("is made of SQL that names no function, trigger, sequence or language", () => {
    for (const { name, sql } of migrations(false)) {
      const code = sql.replace(/--.*$/gm, "");
      expect([name, /function|trigger|plpgsql|sequence|nextval|\bdo\b\s*\$|pg_|brin|\$\$/i.exec(code)?.[0]]).toEqual([
        name,
        undefined,
      ]);
    }
    const withoutComments = migrationScript({ triggers: false }).replace(/--.*$/gm, "");
    expect(withoutComments.replaceAll("0003_without_triggers", "")).not.toMatch(
      /trigger|function|plpgsql|pg_|set local/i,
    );
  });

  it("creates the tables once, with no function, trigger or sequence, and does nothing after that", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    const plan = await backend.planMigration({ triggers: false });
    const report = await backend.migrate({ triggers: false });
    expect(namesOf(report)).toEqual(plain);
    expect(plan).toMatchObject({ version: 0, pending: report.applied, disabledTriggers: [] });
    expect(await leftIn(schema)).toEqual([]);
    expect(await backend.migrate({ triggers: false })).toEqual({ ...report, applied: [] });
    expect(await backend.planMigration({ triggers: false })).toMatchObject({ version: 3, pending: [] });
  });

  it("is one script, too, which may be run twice", async () => {
    const schema = freshSchema();
    const script = migrationScript({ schema, triggers: false });
    await database.sql(script);
    await database.sql(script);
    const backend = await database.open({ schema });
    expect(namesOf(await backend.migrate({ triggers: false }))).toEqual([]);
    expect(await leftIn(schema)).toEqual([]);
  });

  it("is safe to run by twenty processes at once", async () => {
    const schema = freshSchema();
    const reports = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const child = fork(join(__dirname, "..", "fixtures", "migrates.ts"), {
          execArgv: ["--import", "tsx"],
          env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: schema, SPEC_TRIGGERS: "false" },
          stdio: ["ignore", "ignore", "inherit", "ipc"],
        });
        const failed = once(child, "exit").then(([code]) => Promise.reject(new Error(`exit code ${String(code)}`)));
        const [report] = (await Promise.race([once(child, "message"), failed])) as [MigrationReport];
        return report;
      }),
    );
    expect(reports.map(namesOf).filter((names) => names.length > 0)).toEqual([plain]);
    // Twenty processes take a while to start on a machine that is busy.
  }, 180_000);

  it("ends with triggers where others ask for them at the same time, and tells those who did not", async () => {
    for (let round = 0; round < 4; round += 1) {
      const schema = freshSchema();
      const backends = await Promise.all(Array.from({ length: 6 }, async () => database.open({ schema })));
      const outcomes = await Promise.allSettled(
        backends.map(async (backend, index) => backend.migrate({ triggers: index % 2 === 0 })),
      );
      for (const [index, outcome] of outcomes.entries()) {
        if (outcome.status === "rejected") {
          expect(index % 2).toBe(1);
          expect(outcome.reason).toMatchObject({ code: "SCHEMA", reason: "triggers" });
        }
      }
      const [backend] = backends;
      expect(await backend?.migrate()).toMatchObject({ version: 3, applied: [], repaired: [] });
      expect((await backend?.health())?.problems).toEqual([]);
      await backend?.initGroup("g", 1);
      expect(await backend?.completeGroupMember("g", "a", 1)).toBe(1);
      await Promise.all(backends.map(async (each) => each.close()));
    }
  });

  it("refuses a schema that has triggers, changes nothing there, and says what to do", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    await backend.migrate();
    for (const call of [backend.migrate({ triggers: false }), backend.planMigration({ triggers: false })]) {
      const error: unknown = await call.catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(SchemaError);
      expect(error).toMatchObject({ reason: "triggers", schema });
      expect((error as Error).message).toContain("another schema");
    }
    await database.sql(migrationScript({ schema, triggers: false }));
    expect(await backend.migrate()).toMatchObject({ applied: [] });
    await backend.initGroup("g", 2);
    expect(await backend.completeGroupMember("g", "a", 1)).toBe(1);
    expect(await backend.getGroup("g")).toMatchObject({ completed: 1, done: false });
  });

  it("refuses triggers that it finds although nothing is recorded of them", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    await backend.migrate();
    await database.sql(`delete from ${escapeIdentifier(schema)}.kojin_migrations`);
    await expect(backend.migrate({ triggers: false })).rejects.toMatchObject({ reason: "triggers" });
    await expect(backend.planMigration({ triggers: false })).rejects.toMatchObject({ reason: "triggers" });
  });

  it("adopts the tables and groups of the Rust crate, and goes on with them, with triggers added later, too", async () => {
    const schema = freshSchema();
    const name = escapeIdentifier(schema);
    await database.sql(`create schema ${name}`);
    await database.sql(
      `create table ${name}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await database.sql(
      `create table ${name}.kojin_groups (group_id text not null, task_id text not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    await database.sql(`insert into ${name}.kojin_results (task_id, result) values ('rust', '1')`);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, completed) select 'g', 'g:placeholder:' || i, false from generate_series(0, 3) as i`,
    );
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('g', 'a', '1', true), ('g', 'b', '2', true)`,
    );
    const backend = await database.open({ schema });
    expect(namesOf(await backend.migrate({ triggers: false }))).toEqual(plain);
    expect(await backend.get("rust")).toBe(1);
    expect(await backend.getGroup("g")).toMatchObject({ total: 4, completed: 2, failed: 0, done: false });
    expect(await backend.completeGroupMember("g", "c", 3)).toBe(3);
    expect(namesOf(await backend.migrate())).toEqual(["0003_triggers"]);
    expect(await backend.completeGroupMember("g", "d", 4)).toBe(4);
    expect(await backend.waitGroup("g", 5_000)).toEqual([1, 2, 3, 4]);
    const rows = await database.sql<{ task_id: string }>(
      `select task_id from ${name}.kojin_groups where finished_seq is not null order by finished_seq`,
    );
    expect(rows.map(({ task_id }) => task_id)).toEqual(["a", "b", "c", "d"]);
  });

  it("takes true or false", async () => {
    const backend = await database.open({ schema: freshSchema() });
    for (const triggers of [null, "no", 0] as unknown as boolean[]) {
      await expect(backend.migrate({ triggers })).rejects.toThrow(TypeError);
      await expect(backend.planMigration({ triggers })).rejects.toThrow(TypeError);
      expect(() => migrationScript({ triggers })).toThrow(TypeError);
    }
  });
});

describe("migrate() on a schema that has a version from before", () => {
  const database = specDatabase("version two", { migrated: false });

  it("finds the triggers of version 2, and takes the numbers of members on from where they are", async () => {
    const backend = await database.open();
    const name = escapeIdentifier(database.schema);
    await backend.migrate();
    await backend.initGroup("g", 3);
    await backend.completeGroupMember("g", "a", 1);
    await database.sql(`delete from ${name}.kojin_migrations where version = 3`);
    const late = await database.open();
    await expect(late.get("t")).rejects.toMatchObject({ reason: "outdated" });
    await expect(late.migrate({ triggers: false })).rejects.toMatchObject({ reason: "triggers" });
    expect(namesOf(await late.migrate())).toEqual(["0003_triggers"]);
    expect(await late.completeGroupMember("g", "b", 2)).toBe(2);
    const numbers = await database.sql<{ task_id: string }>(
      `select task_id from ${name}.kojin_groups where group_id = 'g' order by finished_seq`,
    );
    expect(numbers.map(({ task_id }) => task_id)).toEqual(["a", "b"]);
    expect(await late.getGroup("g")).toMatchObject({ completed: 2, done: false });
  });
});
