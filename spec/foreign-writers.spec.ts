import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../lib/notifications/payload";
import { eventually } from "./support/eventually";
import { itSincePostgres } from "./support/where";
import { specDatabase } from "./support/spec-database";

// The statements of the Rust crate kojin-postgres 0.4 as its workers send them, and statements typed into psql.
describe("writers that are not this library", () => {
  const database = specDatabase("foreign");
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  const rustStore = `insert into ${table} (task_id, result, expires_at) values ($1, $2, $3) on conflict (task_id) do update set result = $2, expires_at = $3`;
  const tomorrow = new Date(Date.now() + 86_400_000);
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    waiting = await database.open();
    await waiting.ready();
  });

  async function openWait<T>(taskId: string): Promise<{ result: Promise<T> }> {
    const { statements } = waiting.stats().reads;
    const result = waiting.wait<T>(taskId, 20_000);
    await eventually(() => {
      expect(waiting.stats().reads.statements).toBeGreaterThan(statements);
      expect(waiting.stats().reads.inFlight).toBe(0);
    });
    return { result };
  }

  const expectNotified = (): void =>
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0, reconnect: 0 });

  it("wake a wait with a plain INSERT", async () => {
    const { result } = await openWait("psql");
    await database.sql(`insert into ${table} (task_id, result) values ('psql', '{"from": "psql"}')`);
    expect(await result).toEqual({ from: "psql" });
    expectNotified();
  });

  it("wake a wait with the crate's upsert, and replace a result with it", async () => {
    const { result } = await openWait("rust");
    await database.sql(rustStore, ["rust", JSON.stringify([1, 2]), tomorrow]);
    expect(await result).toEqual([1, 2]);
    await database.sql(rustStore, ["rust", "null", tomorrow]);
    expect(await waiting.get("rust")).toBeNull();
    expectNotified();
  });

  it("clear an old failure when they store a success, of whatever value", async () => {
    for (const value of ["null", "7", '{"a":1}']) {
      await waiting.fail("retried", new Error("first try"));
      await database.sql(rustStore, ["retried", value, tomorrow]);
      expect(await waiting.getSettled("retried")).toEqual({ status: "fulfilled", value: JSON.parse(value) as unknown });
    }
  });

  it("can fail a task, in the column error", async () => {
    const { result } = await openWait("failed in SQL");
    const failed = expect(result).rejects.toMatchObject({
      failure: { name: "PythonError", message: "no", details: { line: 3 } },
    });
    await database.sql(`insert into ${table} (task_id, result, error) values ('failed in SQL', 'null', $1)`, [
      { name: "PythonError", message: "no", details: { line: 3 } },
    ]);
    await failed;
    await database.sql(`update ${table} set error = '"just a text"' where task_id = 'failed in SQL'`);
    expect(await waiting.getSettled("failed in SQL")).toMatchObject({
      reason: { failure: { name: "Error", message: "just a text" } },
    });
  });

  it("see of a failed task a result, as the column is not null", async () => {
    await waiting.fail("for Rust", new Error("x"));
    const rows = await database.sql(
      `select result::text from ${table} where task_id = $1 and (expires_at is null or expires_at > now())`,
      ["for Rust"],
    );
    expect(rows).toEqual([{ result: "null" }]);
  });

  itSincePostgres(15, "MERGE")("wake waits with MERGE, and ids that a payload must quote", async () => {
    const ids = ['quote"', "comma,", "new\nline", "漢字", "{}"];
    const waits = Promise.all(ids.map(async (id) => waiting.wait(id, 20_000)));
    await eventually(() => expect(waiting.stats().waiting).toBe(ids.length));
    await database.sql(
      `merge into ${table} as target using (select unnest($1::text[]) as id) as source on target.task_id = source.id
       when not matched then insert (task_id, result) values (source.id, to_jsonb(source.id))`,
      [ids],
    );
    expect(await waits).toEqual(ids);
    expectNotified();
  });

  it("never have a write fail for a notification, whatever the ids and however many the rows", async () => {
    const ids = [
      "x".repeat(2_600),
      "\u0001".repeat(2_000),
      "é".repeat(100_000),
      ...Array.from({ length: 300 }, (_, index) => `${index} ${"\u0002".repeat(index)}`),
    ];
    await database.sql(`insert into ${table} (task_id, result) select id, '1' from unnest($1::text[]) as id`, [ids]);
    const { result } = await openWait("one of many");
    await database.sql(
      `insert into ${table} (task_id, result) select 'bulk ' || i, '1'::jsonb from generate_series(1, 20000) as i union all select 'one of many', '2'::jsonb`,
    );
    expect(await result).toBe(2);
    expectNotified();
    const [{ count } = { count: 0 }] = await database.sql<{ count: number }>(`select count(*)::int from ${table}`);
    expect(count).toBeGreaterThan(20_300);
  });

  it("announce every id of a statement, in payloads that fit", async () => {
    const client = await database.pool.connect();
    const payloads: string[] = [];
    client.on("notification", ({ payload = "" }) => void payloads.push(payload));
    await client.query(`listen ${channelOf(database.schema)}`);
    const ids = Array.from({ length: 2_000 }, (_, index) => `${index}${'"é\u0001漢'.repeat(index % 90)}`);
    await database.sql(`insert into ${table} (task_id, result) select id, '1' from unnest($1::text[]) as id`, [ids]);
    await database.sql(`select pg_notify($1, 'marker')`, [channelOf(database.schema)]);
    await eventually(() => expect(payloads.at(-1)).toBe("marker"));
    const announced = payloads.slice(0, -1).flatMap((payload) => (JSON.parse(payload) as { ids: string[] }).ids);
    expect(announced.sort()).toEqual(ids.sort());
    expect(Math.max(...payloads.map((payload) => Buffer.byteLength(payload)))).toBeLessThanOrEqual(7_999);
    await client.query("unlisten *");
    client.release();
  });

  it("are not announced for a statement that stores nothing", async () => {
    await waiting.store("there", 1);
    const client = await database.pool.connect();
    const payloads: string[] = [];
    client.on("notification", ({ payload = "" }) => void payloads.push(payload));
    await client.query(`listen ${channelOf(database.schema)}`);
    await database.sql(`insert into ${table} (task_id, result) values ('there', '2') on conflict do nothing`);
    await database.sql(`update ${table} set result = '3' where false`);
    await waiting.store("there", 4, { onConflict: "keep" });
    await database.sql(`select pg_notify($1, 'marker')`, [channelOf(database.schema)]);
    await eventually(() => expect(payloads).toEqual(["marker"]));
    await client.query("unlisten *");
    client.release();
  });

  it("can prepare a transaction, or go without notification, with kojin.notify = 'off'", async () => {
    const { result } = await openWait("silent");
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("set local kojin.notify = 'off'");
    await waiting.store("silent", 1, { client });
    await client.query("commit");
    client.release();
    await waiting.store("marker", 1);
    expect(await waiting.wait("marker", 20_000)).toBe(1);
    expect(waiting.stats().waiting).toBe(1);
    await database.sql(`update ${table} set result = '2' where task_id = 'silent'`);
    expect(await result).toBe(2);
  });
});
