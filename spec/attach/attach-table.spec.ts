import { escapeIdentifier } from "pg";
import { DatabaseError, type PostgresResultBackend, SchemaError, type TaskFailedError } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";
import { described, JobsTable } from "./support/jobs-table";

describe("a table that is attached", () => {
  const database = specDatabase("attach");
  const schema = `${database.schema} queue`;
  const tableOf = async (name: string, rest?: string, key?: string): Promise<JobsTable> =>
    new JobsTable(database, schema, name).create(rest, key);
  const failureOf = async (backend: PostgresResultBackend, id: string): Promise<unknown> =>
    backend.wait(id, 20_000).then(
      () => undefined,
      (error: unknown) => (error as TaskFailedError).failure,
    );
  /** The functions and triggers that attaching has created. */
  const created = async (): Promise<unknown[]> =>
    database.sql(
      `select proname as name from pg_proc where pronamespace = $1::regnamespace and proname like 'kojin\\_attached%'
       union all
       select tgname from pg_trigger join pg_class on pg_class.oid = tgrelid
       where relnamespace = $2::regnamespace and tgname like 'kojin%'`,
      [escapeIdentifier(database.schema), escapeIdentifier(schema)],
    );

  it("ends waits with results and failures, and takes no retry for a failure", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("jobs")];
    expect(await backend.attachQueue(jobs.queue, { schema, prefix: "job:" })).toEqual({
      attached: [
        {
          queue: "table",
          schema,
          table: "jobs",
          prefix: "job:",
          ttlMs: 86_400_000,
          state: "enabled",
          ownerWithoutRights: undefined,
        },
      ],
      copied: 0,
      skipped: 0,
    });
    const waits = ["a", "b", "c", "d"].map(async (id) => failureOf(backend, `job:${id}`));
    const result = backend.wait("job:done", 20_000);
    await jobs.add("a", "b", "c", "d", "done");
    await database.sql(`update ${jobs.name} set state = 'retry', attempt = 2, error = '"first attempt"'`);
    await jobs.complete("done", { pages: [1, 2] });
    expect(await result).toEqual({ pages: [1, 2] });
    expect(await backend.getSettled("job:a")).toBeUndefined();

    const cause = { name: "Inner", message: "deep", stack: "/a/path", port: 1 };
    await jobs.fail("a", { name: "QuotaError", message: "full", code: "E1", stack: "/a/path", limit: 5, cause });
    await jobs.fail("b", { message: "with details", details: { used: 1 }, limit: 5 });
    await jobs.fail("c", "only a text");
    await database.sql(`update ${jobs.name} set state = 'failed', error = null where id = 'd'`);
    expect(await Promise.all(waits)).toEqual([
      {
        name: "QuotaError",
        message: "full",
        code: "E1",
        details: { limit: 5 },
        cause: { name: "Inner", message: "deep", details: { port: 1 } },
      },
      { name: "Error", message: "with details", details: { used: 1 } },
      { name: "Error", message: "only a text" },
      { name: "Error", message: "The job failed." },
    ]);
    const [row] = await database.sql(
      `select error::text like '%/a/path%' as has_paths, expires_at - stored_at < '25 hours' as expires
       from ${escapeIdentifier(database.schema)}.kojin_results where task_id = 'job:a'`,
    );
    expect(row).toEqual({ has_paths: false, expires: true });
  });

  it("may insert finished jobs, finish many at once, and update a finished one", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("many")];
    await backend.attachQueue(jobs.queue, { schema, ttlMs: Infinity });
    const ids = Array.from({ length: 300 }, (_, index) => `many ${index}`);
    const waits = Promise.all(ids.map(async (id) => backend.wait(id, 20_000)));
    await jobs.add(...ids);
    await database.sql(`update ${jobs.name} set state = 'completed', output = to_json(id || '!')`);
    expect(await waits).toEqual(ids.map((id) => `${id}!`));
    await database.sql(`insert into ${jobs.name} (id, state, output) values ('inserted', 'completed', '1')`);
    expect(await backend.wait("inserted", 20_000)).toBe(1);

    const stored = `select stored_xid, expires_at from ${escapeIdentifier(database.schema)}.kojin_results where task_id = 'inserted'`;
    const [before] = await database.sql(stored);
    await database.sql(`update ${jobs.name} set attempt = 3 where id = 'inserted'`);
    expect(await database.sql(stored)).toEqual([{ ...before, expires_at: null }]);
    await database.sql(`update ${jobs.name} set output = '2' where id = 'inserted'`);
    expect(await backend.get("inserted")).toBe(2);
    await database.sql(`update ${jobs.name} set state = 'failed', error = '"undone"' where id = 'inserted'`);
    expect(await failureOf(backend, "inserted")).toEqual({ name: "Error", message: "undone" });
  });

  it("copies in the transaction of the queue", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("transactions")];
    await backend.attachQueue(jobs.queue, { schema });
    await jobs.add("kept", "undone");
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(`update ${jobs.name} set state = 'completed' where id = 'kept'`);
    await client.query("savepoint s");
    await client.query(`update ${jobs.name} set state = 'completed' where id = 'undone'`);
    await client.query("rollback to savepoint s");
    expect(await backend.getSettled("kept")).toBeUndefined();
    await client.query("commit");
    client.release();
    expect(await backend.wait("kept", 20_000)).toBeNull();
    expect(await backend.getSettled("undone")).toBeUndefined();
  });

  it("may be partitioned, by statements that name a partition, and by partitions that are created later", async () => {
    const [backend, jobs] = [
      await database.open(),
      await tableOf("partitioned", "partition by list (state)", "not null"),
    ];
    const part = (name: string): string => `${escapeIdentifier(schema)}.${name}`;
    await database.sql(`create table ${part("first")} partition of ${jobs.name} for values in ('created', 'active')`);
    await database.sql(`insert into ${jobs.name} (id) values ('moved')`);
    await backend.attachQueue(jobs.queue, { schema });
    await database.sql(`create table ${part("later")} partition of ${jobs.name} for values in ('completed')`);
    await database.sql(`create table ${part("loose")} (like ${jobs.name} including defaults)`);
    await database.sql(`alter table ${jobs.name} attach partition ${part("loose")} for values in ('failed')`);
    const failed = failureOf(backend, "loose");
    await jobs.complete("moved", "from one partition to another");
    expect(await backend.wait("moved", 20_000)).toBe("from one partition to another");
    await database.sql(`insert into ${part("later")} (id, state, output) values ('direct', 'completed', '1')`);
    expect(await backend.wait("direct", 20_000)).toBe(1);
    await database.sql(`insert into ${part("loose")} (id, state, error) values ('loose', 'failed', '"no"')`);
    expect(await failed).toEqual({ name: "Error", message: "no" });
    // Replaces the triggers of all partitions, and removes them.
    await backend.attachQueue(jobs.queue, { schema, prefix: "again:" });
    await database.sql(`update ${part("later")} set output = '2' where id = 'direct'`);
    expect(await backend.wait("again:direct", 20_000)).toBe(2);
    expect((await backend.inspect()).attached.filter(({ table }) => table === "partitioned")).toHaveLength(1);
    expect(await backend.detachQueue(jobs.queue, { schema })).toBe(true);
    await database.sql(`update ${part("later")} set output = '3' where id = 'direct'`);
    expect(await backend.get("again:direct")).toBe(2);
  });

  it("may be changed by the migrations of its queue", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("migrated")];
    await backend.attachQueue(jobs.queue, { schema });
    await jobs.add("before", "after");
    await jobs.complete("before", 1);
    await database.sql(`alter table ${jobs.name} alter column state type varchar(20), alter column output type jsonb`);
    await database.sql(`alter table ${jobs.name} rename to renamed`);
    await database.sql(`alter table ${escapeIdentifier(schema)}.renamed rename to migrated`);
    await jobs.complete("after", 2);
    await database.sql(`alter table ${jobs.name} drop column output`);
    const session = await database.pool.connect();
    await session.query("discard plans");
    await session.query(`insert into ${jobs.name} (id, state) values ('without', 'completed')`);
    session.release();
    expect(await jobs.states()).toEqual({ before: "completed", after: "completed", without: "completed" });
    expect(await backend.getSettled("without")).toBeUndefined();
    await backend.attachQueue({ table: "migrated", id: "id", succeeded: "state = 'completed'" }, { schema });
    expect(await backend.get("without")).toBeNull();
  });

  it("is attached again with other settings, and leaves nothing behind when it is detached", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("settings")];
    const others = await created();
    await backend.attachQueue(jobs.queue, { schema });
    const first = await created();
    await Promise.all([1, 2, 3].map(async () => backend.attachQueue(jobs.queue, { schema })));
    expect(await created()).toEqual(first);
    const { attached } = await backend.attachQueue(
      { ...jobs.queue, result: "json_build_object('attempt', attempt)" },
      { schema, prefix: "settings:", ttlMs: 60_000 },
    );
    expect(attached).toMatchObject([{ prefix: "settings:", ttlMs: 60_000 }]);
    await jobs.add("one");
    await jobs.complete("one");
    expect(await backend.get("settings:one")).toEqual({ attempt: 1 });
    expect(await backend.get("one")).toBeUndefined();
    for (const { table } of (await backend.inspect()).attached) await backend.detachQueue({ table }, { schema });
    expect(await created()).toEqual([]);
    expect(others.length).toBeGreaterThan(0);
    expect(await backend.detachQueue(jobs.queue, { schema })).toBe(false);
    expect(await backend.get("settings:one")).toEqual({ attempt: 1 });
    await jobs.add("two");
    await jobs.complete("two");
    expect(await backend.get("settings:two")).toBeUndefined();
  });

  it("leaves nothing behind when it is dropped and another one is attached", async () => {
    const [backend, jobs, other] = [await database.open(), await tableOf("dropped"), await tableOf("other")];
    await backend.attachQueue(jobs.queue, { schema });
    const before = await created();
    await database.sql(`drop table ${jobs.name}`);
    await backend.attachQueue(other.queue, { schema });
    expect(await created()).toHaveLength(before.length);
    expect((await backend.inspect()).attached.map(({ table }) => table)).toEqual(["other"]);
  });

  it("is refused if it is missing, if an expression does not fit, and for wrong arguments", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("refused")];
    const attach = async (change: object, options: object = {}): Promise<unknown> =>
      backend.attachQueue({ ...jobs.queue, ...change }, { schema, ...options }).catch((error: unknown) => error);
    for (const [change, message] of [
      [{ table: "missing" }, 'relation "'],
      [{ succeeded: "status = 'completed'" }, 'column "status" does not exist'],
      [{ succeeded: "true); select (1" }, "syntax error"],
      [{ result: "outcome.task_id" }, "outcome"],
    ] as const) {
      const error = await attach(change);
      expect(error).toBeInstanceOf(DatabaseError);
      expect((error as Error).message).toContain(message);
      expect((error as Error).message).toContain(`Could not attach to ${schema}.`);
    }
    expect(await attach({}, { ttlMs: 0 })).toBeInstanceOf(RangeError);
    expect(await attach({}, { lockWaitMs: -1 })).toBeInstanceOf(RangeError);
    expect(await attach({}, { prefix: 1 })).toBeInstanceOf(TypeError);
    expect(await attach({ id: undefined })).toBeInstanceOf(TypeError);
    expect(await attach({ id: " " })).toBeInstanceOf(RangeError);
    await expect(backend.attachQueue("pgboss" as "pg-boss")).rejects.toThrow("expected pg-boss, dbos");
    const own = { table: "kojin_results", id: "task_id", succeeded: "true" };
    await expect(backend.attachQueue(own, { schema: database.schema })).rejects.toThrow(RangeError);
    expect((await backend.inspect()).attached.map(({ table }) => table)).not.toContain("refused");
    const unmigrated = await database.open({ schema: `${database.schema} unmigrated` });
    await expect(unmigrated.attachQueue({ table: "refused", ...described }, { schema })).rejects.toThrow(SchemaError);
  });

  it("is attached within the time for its lock, or not at all, and the message names the session", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("locked")];
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query(`insert into ${jobs.name} (id) values ('open')`);
    const { rows } = await writer.query<{ pid: number }>("select pg_backend_pid() as pid");
    const error: unknown = await backend
      .attachQueue(jobs.queue, { schema, lockWaitMs: 0 })
      .catch((each: unknown) => each);
    expect(error).toMatchObject({ name: "DatabaseError", sqlState: "55P03" });
    expect((error as Error).message).toContain(`Could not attach to ${schema}.locked: waited`);
    expect((error as Error).message).toContain(`held by process ${rows[0]?.pid} (application "spec admin"`);
    // The attempts of the next one let other writers pass.
    const attaching = backend.attachQueue(jobs.queue, { schema });
    for (const id of ["1", "2", "3"]) await jobs.add(id);
    await writer.query("commit");
    writer.release();
    await attaching;
    await jobs.complete("open", "later");
    expect(await backend.wait("open", 20_000)).toBe("later");
  });
});
