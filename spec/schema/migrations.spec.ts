import { fork } from "node:child_process";
import { join } from "node:path";
import { escapeIdentifier, Pool } from "pg";
import { type MigrationReport, PostgresResultBackend, SchemaError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";
import { channelOf } from "../../lib/notifications/payload";
import { latestVersion, migrations } from "../../lib/schema/migration-files";

describe("migrate", () => {
  const database = specDatabase("migrate", { migrated: false });
  let counter = 0;

  /** The name of a schema that is not there yet. */
  function freshSchema(): string {
    counter += 1;
    const schema = `${database.schema} "${counter}'`;
    database.createSchema(schema);
    return schema;
  }

  it("creates schema, tables and triggers once, and does nothing after that", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    const report = await backend.migrate();
    expect(report).toMatchObject({
      schema,
      applied: migrations.map(({ version, name }) => ({ version, name })),
      repaired: [],
    });
    expect(await backend.migrate()).toEqual({ ...report, applied: [] });
    await backend.store("t", 1);
    expect(await backend.get("t")).toBe(1);
    expect(await backend.health()).toMatchObject({ ok: true, schemaVersion: report.version });
  });

  it.each(["$$", "$&", "$name$", "$'", "line\nbreak", "@schema@.kojin"])(
    "takes %j in the name of a schema",
    async (text) => {
      const schema = `${database.schema} ${text}`;
      database.createSchema(schema);
      const backend = await database.open({ schema });
      await backend.migrate();
      await backend.store("t", 1);
      await backend.initGroup("g", 1);
      expect(await backend.completeGroupMember("g", "a", 1)).toBe(1);
      expect([await backend.get("t"), await backend.waitGroup("g", 20_000)]).toEqual([1, [1]]);
      expect((await backend.health()).problems).toEqual([]);
    },
  );

  it("is safe to run by twenty processes at once", async () => {
    const schema = freshSchema();
    const reports = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const child = fork(join(__dirname, "..", "fixtures", "migrates.ts"), {
          execArgv: ["--import", "tsx"],
          env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: schema },
          stdio: ["ignore", "ignore", "inherit", "ipc"],
        });
        return messageOf<MigrationReport>(child);
      }),
    );
    expect(reports.filter(({ applied }) => applied.length > 0)).toHaveLength(1);
    expect(new Set(reports.map(({ version }) => version)).size).toBe(1);
    // Twenty processes take a while to start on a machine that is busy.
  }, 180_000);

  it("sees what was done while it waited for its turn, whatever its session remembers", async () => {
    const schema = freshSchema();
    const migratedBefore = freshSchema();
    await (await database.open({ schema: migratedBefore })).migrate();
    // PgBouncer keeps a session that remembers that there is no such schema.
    const backend = await database.open({ schema });
    await expect(backend.get("t")).rejects.toBeInstanceOf(SchemaError);
    const first = await database.pool.connect();
    await first.query("begin");
    await first.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`kojin-postgres migrate ${schema}`]);
    const waits: string[] = [];
    const migrated = backend.migrate({ onProgress: ({ waitingFor }) => waits.push(waitingFor ?? "") });
    await eventually(() => expect(waits.join()).toContain("spec admin"));
    await first.query(`alter schema ${escapeIdentifier(migratedBefore)} rename to ${escapeIdentifier(schema)}`);
    await first.query("commit");
    first.release();
    expect(await migrated).toMatchObject({ version: latestVersion, applied: [] });
  });

  it("adopts tables that the Rust crate has made and filled", async () => {
    const schema = freshSchema();
    const name = escapeIdentifier(schema);
    await database.sql(`create schema ${name}`);
    await database.sql(
      `create table ${name}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await database.sql(
      `create index idx_kojin_results_expires on ${name}.kojin_results (expires_at) where expires_at is not null`,
    );
    await database.sql(
      `insert into ${name}.kojin_results (task_id, result, expires_at) select 'rust ' || i, to_jsonb(i), now() + interval '1 day' from generate_series(1, 1000) as i`,
    );
    const backend = await database.open({ schema });
    await expect(backend.get("rust 1")).rejects.toBeInstanceOf(SchemaError);
    await backend.migrate();
    expect(await Promise.all([1, 500, 1_000].map(async (index) => backend.get(`rust ${index}`)))).toEqual([
      1, 500, 1_000,
    ]);
    expect(await database.sql(`select count(*)::int from ${name}.kojin_results`)).toEqual([{ count: 1_000 }]);
  });

  it("enables triggers again that were left disabled", async () => {
    const schema = freshSchema();
    const backend = await database.open({ schema });
    await backend.migrate();
    await database.sql(`alter table ${escapeIdentifier(schema)}.kojin_results disable trigger all`);
    expect((await backend.migrate()).repaired).toEqual([
      "kojin_results_deleted",
      "kojin_results_foreign_update",
      "kojin_results_notify_insert",
      "kojin_results_notify_update",
      "kojin_results_truncated",
    ]);
    expect((await backend.migrate()).repaired).toEqual([]);
  });

  it("makes triggers again that were dropped by hand, and counts what was written without them", async () => {
    const schema = freshSchema();
    const name = escapeIdentifier(schema);
    const backend = await database.open({ schema });
    await backend.migrate();
    await backend.initGroup("group", 3);
    const dropped = await database.sql<{ trigger: string; table: string; definition: string }>(
      `select tgname as trigger, relname as table, pg_get_triggerdef(pg_trigger.oid) as definition
       from pg_trigger join pg_class on pg_class.oid = tgrelid
       where relnamespace = $1::regnamespace and not tgisinternal order by tgname collate "C"`,
      [name],
    );
    for (const { trigger, table } of dropped) await database.sql(`drop trigger ${trigger} on ${name}.${table}`);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('group', 'a', '1', true)`,
    );
    const names = dropped.map(({ trigger }) => trigger);
    expect((await backend.planMigration()).disabledTriggers).toEqual(names);
    const [check] = (await backend.diagnose({ probe: false })).filter((each) => each.check === "triggers");
    expect(check?.remedy).toContain("migrate");
    expect((await backend.migrate()).repaired).toEqual(names);
    const made = await database.sql<{ definition: string }>(
      `select pg_get_triggerdef(pg_trigger.oid) as definition from pg_trigger join pg_class on pg_class.oid = tgrelid
       where relnamespace = $1::regnamespace and not tgisinternal order by tgname collate "C"`,
      [name],
    );
    expect(made).toEqual(dropped.map(({ definition }) => ({ definition })));
    expect(await backend.getGroup("group")).toMatchObject({ completed: 1, done: false });
    expect(await backend.health()).toMatchObject({ ok: true });
    const waiting = backend.wait("heard", 20_000);
    await backend.ready();
    await database.sql(`insert into ${name}.kojin_results (task_id, result) values ('heard', '1')`);
    expect(await waiting).toBe(1);
    expect(await backend.migrate()).toMatchObject({ applied: [], repaired: [] });
  });

  it("says that the schema is being migrated when it fails in the middle, and goes on from there", async () => {
    const schema = freshSchema();
    const results = `${escapeIdentifier(schema)}.kojin_results`;
    await database.sql(`create schema ${escapeIdentifier(schema)}`);
    await database.sql(`create table ${results} (task_id text primary key, result jsonb not null, stored_at int)`);
    const backend = await database.open({ schema });
    await expect(backend.migrate()).rejects.toMatchObject({ name: "DatabaseError" });
    await expect(backend.get("t")).rejects.toMatchObject({
      reason: "outdated",
      message: expect.stringContaining("0001_results: Tables of results") as unknown,
    });
    const pending = migrations.map(({ version }) => ({ version }));
    expect(await backend.planMigration()).toMatchObject({ version: 0, pending });
    await database.sql(`alter table ${results} drop column stored_at, add column expires_at timestamptz`);
    const steps: string[] = [];
    await backend.migrate({ onProgress: ({ step }) => steps.push(step) });
    expect(steps[0]).toBe("Columns of kojin_results");
    await backend.store("t", 1);
    expect(await backend.get("t")).toBe(1);
  });

  it("needs no right to create anything where everything is up to date", async () => {
    const schema = freshSchema();
    await (await database.open({ schema })).migrate();
    const role = `spec_reader_${process.pid}`;
    await database.sql(`create role ${role} login password 'x'`);
    await database.sql(`grant usage on schema ${escapeIdentifier(schema)} to ${role}`);
    await database.sql(`grant select on all tables in schema ${escapeIdentifier(schema)} to ${role}`);
    try {
      const url = new URL(database.url);
      [url.username, url.password] = [role, "x"];
      const reader = await PostgresResultBackend.connect(url.href, { schema });
      expect((await reader.migrate()).applied).toEqual([]);
      expect(await reader.get("nothing")).toBeUndefined();
      await reader.close();
    } finally {
      await database.sql(`drop owned by ${role}`);
      await database.sql(`drop role ${role}`);
    }
  });

  it("announces on the channel that listeners listen to, whatever the name of the schema", async () => {
    for (const schema of ["public", freshSchema(), 'ä"ß', "x".repeat(63)]) {
      const [row] = await database.sql(
        "select 'kojin_' || left(encode(sha256(convert_to($1::name::text, 'UTF8')), 'hex'), 16) as channel",
        [schema],
      );
      expect(row).toEqual({ channel: channelOf(schema) });
    }
  });
});

describe("a schema that does not fit", () => {
  const database = specDatabase("schema check", { migrated: false });

  it("lets one connect before it is migrated, and says at the first use what to run", async () => {
    const backend = await database.open();
    for (const call of [backend.store("t", 1), backend.get("t"), backend.wait("t", 20_000), backend.delete("t")]) {
      const rejection: unknown = await call.catch((error: unknown) => error);
      expect(rejection).toBeInstanceOf(SchemaError);
      expect(rejection).toMatchObject({
        name: "SchemaError",
        code: "SCHEMA",
        schema: database.schema,
        reason: "missing",
      });
      expect((rejection as Error).message).toContain("migrate()");
    }
    await backend.migrate();
    await backend.store("t", 1);
    expect(await backend.get("t")).toBe(1);
  });

  it("rejects where the schema is older than this package", async () => {
    const backend = await database.open();
    await backend.migrate();
    await database.sql(`delete from ${escapeIdentifier(database.schema)}.kojin_migrations`);
    const late = await database.open();
    await expect(late.get("t")).rejects.toMatchObject({ code: "SCHEMA" });
    expect(await late.health()).toMatchObject({ ok: false, schemaVersion: 0 });
    await late.migrate();
    expect(await late.get("nothing")).toBeUndefined();
  });

  it("refuses to work with a schema that is newer than this package", async () => {
    const backend = await database.open();
    await backend.migrate();
    const { version } = await backend.migrate();
    await database.sql(
      `insert into ${escapeIdentifier(database.schema)}.kojin_migrations (version, name) values ($1, 'future')`,
      [version + 1],
    );
    await expect(database.open()).rejects.toMatchObject({ code: "SCHEMA", reason: "newer" });
    const pool = new Pool({ connectionString: database.url });
    const unchecked = new PostgresResultBackend(pool, { schema: database.schema });
    for (const call of [unchecked.store("t", 1), unchecked.wait("t", 20_000), unchecked.migrate()]) {
      await expect(call).rejects.toMatchObject({
        code: "SCHEMA",
        reason: "newer",
        message: expect.stringContaining("upgrade the package") as unknown,
      });
    }
    await unchecked.close();
    await pool.end();
    await database.sql(`delete from ${escapeIdentifier(database.schema)}.kojin_migrations where name = 'future'`);
  });
});
