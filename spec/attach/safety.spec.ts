import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, escapeIdentifier, type PoolClient } from "pg";
import { Logins } from "../security/support/logins";
import { specDatabase, withParameter } from "../support/spec-database";
import { JobsTable } from "./support/jobs-table";

describe("the writes of an attached queue", () => {
  const database = specDatabase("attach safety");
  const logins = new Logins(database);
  const schema = `${database.schema} queue`;
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  const tableOf = async (name: string): Promise<JobsTable> => new JobsTable(database, schema, name).create();

  /** Runs `work` on a session whose statements may take at most two seconds, and returns its warnings. */
  async function asQueue(
    client: Client | PoolClient,
    work: (client: Client | PoolClient) => Promise<unknown>,
  ): Promise<string[]> {
    const warnings: string[] = [];
    client.on("notice", ({ message = "" }) => warnings.push(message));
    await client.query("set statement_timeout = '2s'");
    await work(client);
    await client.query("reset statement_timeout");
    client.removeAllListeners("notice");
    return warnings;
  }

  async function finish(jobs: JobsTable, id: string): Promise<string[]> {
    const client = await database.pool.connect();
    try {
      return await asQueue(client, async () =>
        client.query(`update ${jobs.name} set state = 'completed', output = '1' where id = $1`, [id]),
      );
    } finally {
      client.release();
    }
  }

  it("wait for no result that another transaction has locked", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("locked")];
    await backend.attachQueue(jobs.queue, { schema });
    await jobs.add("row", "insert", "table", "free");
    await backend.store("row", "older");
    const stranger = await database.pool.connect();
    await stranger.query("begin");
    await stranger.query(`select from ${results} where task_id = 'row' for update`);
    await stranger.query(`insert into ${results} (task_id, result) values ('insert', '"not committed"')`);
    expect(await finish(jobs, "row")).toEqual([expect.stringContaining("has locked the result")]);
    expect(await finish(jobs, "insert")).toEqual([expect.stringContaining("lock timeout")]);
    expect(await finish(jobs, "free")).toEqual([]);
    await stranger.query(`lock table ${results}`);
    expect(await finish(jobs, "table")).toEqual([expect.stringContaining("lock timeout")]);
    await stranger.query("rollback");
    stranger.release();
    expect(await jobs.states()).toEqual({
      row: "completed",
      insert: "completed",
      table: "completed",
      free: "completed",
    });
    expect(await backend.get("row")).toBe("older");
    expect(await backend.get("free")).toBe(1);
    // What is missing is copied by the next call.
    expect(await backend.attachQueue(jobs.queue, { schema })).toMatchObject({ copied: 2, skipped: 0 });
    expect(await backend.get("insert")).toBe(1);
  });

  it("wait for a lock on all results once in a transaction, however many jobs it finishes", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("crowded")];
    await backend.attachQueue(jobs.queue, { schema });
    await jobs.add(...Array.from({ length: 100 }, (_, index) => `job ${index}`));
    const stranger = await database.pool.connect();
    await stranger.query("begin");
    await stranger.query(`lock table ${results}`);
    const client = await database.pool.connect();
    for (const state of ["completed", "failed"]) {
      const finishAll = `update ${jobs.name} set state = '${state}'`;
      const warnings = await asQueue(client, async () => client.query(finishAll));
      expect(warnings).toEqual([expect.stringContaining("lock timeout")]);
    }
    // A row that is locked is skipped without a wait, and each such row has a warning.
    await stranger.query("rollback");
    await backend.store("job 1", "older");
    await backend.store("job 2", "older");
    await stranger.query("begin");
    await stranger.query(`select from ${results} for update`);
    const finishAll = `update ${jobs.name} set state = 'completed' where id in ('job 1', 'job 2')`;
    const warnings = await asQueue(client, async () => client.query(finishAll));
    expect(warnings).toEqual(Array(2).fill(expect.stringContaining("has locked the result")));
    await stranger.query("rollback");
    for (const each of [stranger, client]) each.release();
    expect(await backend.attachQueue(jobs.queue, { schema })).toMatchObject({ copied: 98, skipped: 0 });
  });

  it("end with a failure for a result that cannot be stored", async () => {
    const [backend, jobs] = [await database.open({ maxResultBytes: 2_000 }), await tableOf("data")];
    await backend.attachQueue({ ...jobs.queue, error: "output" }, { schema });
    const write = async (id: string, state: string, output: string): Promise<unknown> =>
      database.sql(`insert into ${jobs.name} (id, state, output) values ($1, $2, $3)`, [id, state, output]);
    await write("nul", "completed", '{"text": "\\u0000"}');
    await write("nul failed", "failed", '{"message": "\\u0000"}');
    await write("deep", "completed", "[".repeat(6_000) + "]".repeat(6_000));
    await write("large", "completed", JSON.stringify("x".repeat(3_000)));
    await write("large failed", "failed", JSON.stringify({ message: "y".repeat(3_000), name: "LargeError" }));
    await write("exponent", "completed", "1e400000");
    await write("good", "completed", "1");
    const failures: Record<string, { name: string; message: string }> = {};
    for (const id of ["nul", "nul failed", "deep", "large", "large failed", "exponent"]) {
      const settled = await backend.waitSettled(id, 20_000);
      failures[id] = (settled as { reason: { failure: { name: string; message: string } } }).reason.failure;
    }
    expect(failures).toMatchObject({
      nul: { name: "ResultEncodingError", message: expect.stringContaining("unsupported Unicode") as string },
      "nul failed": { name: "Error", message: expect.stringContaining("The job has failed, and its error") as string },
      deep: { name: "ResultEncodingError" },
      large: { name: "ResultEncodingError", message: expect.stringContaining("more than maxResultBytes") as string },
      "large failed": { name: "LargeError", message: "y".repeat(500) },
      exponent: { name: "ResultEncodingError" },
    });
    expect(await backend.get("good")).toBe(1);
  });

  it("succeed with ids that are none, and for data that an expression does not accept", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("ids")];
    await backend.attachQueue({ ...jobs.queue, id: "case when id <> 'null' then id end" }, { schema });
    await jobs.add("null", "x".repeat(600));
    expect(await finish(jobs, "null")).toEqual([expect.stringContaining("expected 1 to 512 bytes")]);
    expect(await finish(jobs, "x".repeat(600))).toEqual([expect.stringContaining("expected 1 to 512 bytes")]);
    await backend.attachQueue({ ...jobs.queue, succeeded: "id::int > 0" }, { schema, backfill: false });
    await jobs.add("no number");
    expect(await finish(jobs, "no number")).toEqual([expect.stringContaining("invalid input syntax")]);
    expect(Object.keys(await jobs.states())).toHaveLength(3);
  });

  it("succeed without the tables and functions of the results", async () => {
    const other = `${database.schema} other`;
    database.createSchema(other);
    const [backend, jobs] = [await database.open({ schema: other }), await tableOf("dropped")];
    await backend.migrate();
    await backend.attachQueue(jobs.queue, { schema });
    await jobs.add("1", "2", "3");
    const name = escapeIdentifier(other);
    await database.sql(`alter table ${name}.kojin_results rename to other_results`);
    expect(await finish(jobs, "1")).toEqual([expect.stringContaining("does not exist")]);
    await database.sql(`drop function ${name}.kojin_attached_store`);
    expect(await finish(jobs, "2")).toEqual([expect.stringContaining("does not exist")]);
    await database.sql(`drop schema ${name} cascade`);
    expect(await finish(jobs, "3")).toEqual([]);
    expect(await jobs.states()).toEqual({ 1: "completed", 2: "completed", 3: "completed" });
  });

  it("succeed for a role that may not write results, which the report names, and are copied once it may", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("rights")];
    const url = await logins.create("boss");
    const boss = logins.name("boss");
    await database.sql(`grant all on schema ${escapeIdentifier(schema)} to ${boss}`);
    await database.sql(`alter table ${jobs.name} owner to ${boss}`);
    const { attached } = await backend.attachQueue(jobs.queue, { schema });
    expect(attached).toMatchObject([{ ownerWithoutRights: boss }]);
    const client = await logins.connect(url);
    const finishAs = async (id: string): Promise<string[]> =>
      asQueue(client, async () =>
        client.query(`insert into ${jobs.name} (id, state, output) values ($1, 'completed', '1')`, [id]),
      );
    expect(await finishAs("denied")).toEqual([expect.stringContaining("permission denied")]);
    const names = ["storer", "waiter", "janitor"].map((what) => [`kojin_${what}`, logins.name(what)] as const);
    const roles = names.reduce(
      (text, [role, name]) => text.replaceAll(role, name),
      readFileSync(join(__dirname, "..", "..", "sql", "roles.sql"), "utf8"),
    );
    await database.pool.query(roles.replaceAll("public", () => escapeIdentifier(database.schema)));
    await database.sql(`grant ${logins.name("storer")} to ${boss}`);
    expect(
      (await backend.inspect()).attached.find(({ table }) => table === "rights")?.ownerWithoutRights,
    ).toBeUndefined();
    expect(await finishAs("granted")).toEqual([]);
    await client.end();
    expect(await backend.wait("granted", 20_000)).toBe(1);
    expect(await backend.attachQueue(jobs.queue, { schema })).toMatchObject({ copied: 1 });
    expect(await backend.get("denied")).toBe(1);
    const rights = (await backend.diagnose({ probe: false })).find(({ check }) => check === "rights");
    expect(rights?.verdict).toBe("ok");
  });

  it("run no code that another role has planted in the search_path", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("planted")];
    const evil = `${database.schema} evil`;
    database.createSchema(evil);
    const place = escapeIdentifier(evil);
    await database.sql(`create schema ${place}`);
    await database.sql(
      `create function ${place}.equal(text, text) returns boolean language plpgsql as $$ begin raise exception 'planted'; end $$`,
    );
    await database.sql(`create operator ${place}.= (leftarg = text, rightarg = text, function = ${place}.equal)`);
    await backend.attachQueue(jobs.queue, { schema });
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(`set local search_path = ${place}, pg_catalog`);
    await expect(client.query("savepoint s; select 'a'::text = 'a'::text")).rejects.toThrow("planted");
    await client.query("rollback to savepoint s");
    await client.query(`insert into ${jobs.name} (id, state, output) values ('safe', 'completed', '1')`);
    await client.query("commit");
    client.release();
    expect(await backend.wait("safe", 20_000)).toBe(1);
  });

  it("leave the settings of their transaction as they were", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("session")];
    await backend.attachQueue(jobs.queue, { schema });
    const client = await database.pool.connect();
    const settings = async (): Promise<unknown> =>
      (
        await client.query(
          "select current_setting('search_path') as path, current_setting('lock_timeout') as lock, current_setting('kojin.notify', true) as notify",
        )
      ).rows[0];
    await client.query("begin");
    await client.query("set local lock_timeout = '7s'; set local kojin.notify = 'off'; set local search_path = public");
    const before = await settings();
    await client.query(`insert into ${jobs.name} (id, state, output) values ('set', 'completed', '1')`);
    expect(await settings()).toEqual(before);
    await client.query("commit");
    client.release();
    expect(await backend.wait("set", 20_000)).toBe(1);
  });

  it("end when they are cancelled", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("cancelled")];
    const url = withParameter(database.url, "application_name", "spec stranger");
    const client = await logins.connect(url);
    await backend.attachQueue({ ...jobs.queue, result: "pg_sleep(60)::text" }, { schema });
    await client.query("set statement_timeout = '100ms'");
    await expect(
      client.query(`insert into ${jobs.name} (id, state) values ('slow', 'completed')`),
    ).rejects.toMatchObject({ code: "57014" });
    await client.end();
  });
});
