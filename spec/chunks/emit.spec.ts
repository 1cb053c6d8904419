import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("emit", () => {
  const database = specDatabase("emit");
  const schema = escapeIdentifier(database.schema);

  const valuesOf = async (backend: PostgresResultBackend, taskId: string): Promise<unknown[]> => {
    await backend.store(taskId, null);
    const chunks = await lastValueFrom(backend.chunks$(taskId).pipe(toArray()));
    expect(chunks.map(({ sequence }) => sequence)).toEqual(chunks.map((_, index) => index + 1));
    return chunks.map((chunk) => (chunk.kind === "chunk" ? chunk.value : chunk.kind));
  };

  it("sends the chunks of many tasks in one statement, with one notification", async () => {
    const [backend, following] = [await database.open(), await database.open()];
    await backend.emit("warm", 0);
    const { statements } = backend.stats().emits;
    const [client] = [await database.pool.connect()];
    const payloads: string[] = [];
    client.on("notification", ({ payload = "" }) => payloads.push(payload));
    const { channel } = await following.inspect();
    await client.query(`listen ${channel}`);
    const calls = Array.from({ length: 300 }, async (_, index) => backend.emit(`task ${index % 30}`, index));
    expect((await Promise.all(calls)).slice(-30)).toEqual(Array(30).fill(10));
    expect(backend.stats().emits).toMatchObject({ statements: statements + 1, rows: 301, queued: 0, inFlight: 0 });
    await eventually(() => expect(payloads.filter((payload) => payload.includes("chunks"))).toHaveLength(1));
    const { chunks } = JSON.parse(payloads[0] ?? "") as { chunks: string[] };
    expect(chunks.sort()).toEqual([...new Set(Array.from({ length: 30 }, (_, index) => `task ${index}`))].sort());
    await client.query("unlisten *");
    client.release();
  });

  it("is part of the caller's transaction with { client }", async () => {
    const backend = await database.open();
    const client = await database.pool.connect();
    await client.query("begin");
    expect(await backend.emit("in transaction", "undone", { client })).toBe(1);
    await client.query("rollback");
    await client.query("begin");
    expect(await backend.emit("in transaction", "a", { client })).toBe(1);
    expect(await backend.emit("in transaction", "b", { client })).toBe(2);
    const waiting = backend.emit("in transaction", "c");
    await client.query("commit");
    expect(await waiting).toBe(3);
    await backend.store("with a result", 1);
    await expect(backend.emit("with a result", 2, { client })).rejects.toMatchObject({ code: "TASK_FINISHED" });
    client.release();
    expect(await valuesOf(backend, "in transaction")).toEqual(["a", "b", "c"]);
  });

  it("has a function for writers in any language", async () => {
    const backend = await database.open();
    const emit = async (text: string): Promise<unknown> =>
      (await database.sql<{ sequence: string | null }>(`select ${schema}.kojin_emit(${text}) as sequence`))[0]
        ?.sequence;
    expect(await emit(`'by sql', '{"a": 1}'`)).toBe("1");
    expect(await emit(`'by sql', '2'`)).toBe("2");
    expect(await emit(`task_id => 'by sql', chunk => '3', restart => true, ttl => null`)).toBe("1");
    const [row] = await database.sql(
      `select attempt, expires_at from ${schema}.kojin_streams where task_id = 'by sql'`,
    );
    expect(row).toEqual({ attempt: 2, expires_at: null });
    expect(await valuesOf(backend, "by sql")).toEqual([3]);
    expect(await emit(`'by sql', '4'`)).toBeNull();
    expect(await emit("'by sql 2', null")).toBe("1");
    expect(await valuesOf(backend, "by sql 2")).toEqual([null]);
    await expect(emit("'', '1'")).rejects.toMatchObject({ code: "22023" });
    await expect(emit("'by sql 3', '1', ttl => '0 s'")).rejects.toMatchObject({ code: "22023" });
  });

  it("wakes followers once for a statement of any size, also when another client runs it", async () => {
    const backend = await database.open();
    await backend.ready();
    const values: unknown[] = [];
    const subscription = backend.chunks$("in bulk").subscribe((chunk) => values.push(chunk.sequence));
    await database.sql(`select ${schema}.kojin_emit('in bulk', to_jsonb(i)) from generate_series(1, 2500) as i`);
    await eventually(() => expect(values).toHaveLength(2_500));
    expect(values).toEqual(Array.from({ length: 2_500 }, (_, index) => index + 1));
    subscription.unsubscribe();
  });

  it("rejects only the call whose chunk the server refuses", async () => {
    const backend = await database.open();
    const deep = JSON.parse(`${"[".repeat(7_000)}${"]".repeat(7_000)}`) as unknown;
    const calls = [1, deep, 2, 3].map(async (value) => backend.emit("with one bad", value));
    const outcomes = await Promise.allSettled([...calls, backend.emit("beside it", 1)]);
    expect(outcomes[1]).toMatchObject({ status: "rejected", reason: { name: "ResultEncodingError" } });
    const numbers = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(numbers).toEqual([1, 2, 3, 1]);
    expect(await valuesOf(backend, "with one bad")).toEqual([1, 2, 3]);
  });

  it("divides the chunks of one task among statements, and starts another attempt in the middle", async () => {
    const backend = await database.open({ batch: { maxBytes: 10_000, maxRows: 50 } });
    const text = "x".repeat(900);
    const calls = Array.from({ length: 120 }, async (_, index) =>
      backend.emit("large", { index, text: index < 60 ? text : "" }, { restart: index === 40 }),
    );
    const numbers = await Promise.all(calls);
    expect(numbers).toEqual(Array.from({ length: 120 }, (_, index) => (index < 40 ? index + 1 : index - 39)));
    const values = (await valuesOf(backend, "large")) as { index: number }[];
    expect(values.map(({ index }) => index)).toEqual(Array.from({ length: 80 }, (_, index) => index + 40));
  });

  it("waits for a locked task in its order, and delays no other", async () => {
    const backend = await database.open();
    await backend.emit("locked", 0);
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(`select from ${schema}.kojin_streams where task_id = 'locked' for update`);
    const calls = [1, 2].map(async (value) => backend.emit("locked", value));
    expect(await backend.emit("free", 1)).toBe(1);
    calls.push(...[3, 4].map(async (value) => backend.emit("locked", value)));
    await eventually(() => expect(backend.stats().emits.retries).toBeGreaterThan(0), { timeoutMs: 10_000 });
    await client.query("commit");
    client.release();
    expect(await Promise.all(calls)).toEqual([2, 3, 4, 5]);
    expect(await valuesOf(backend, "locked")).toEqual([0, 1, 2, 3, 4]);
  });

  it("emits a chunk once although the answer was lost", async () => {
    const backend = await database.open();
    await backend.emit("warm", 0);
    // The trigger ends the session after the commit of the first statement could not be confirmed.
    const calls = Array.from({ length: 200 }, async (_, index) => backend.emit(`lost ${index % 4}`, index));
    const killing = (async (): Promise<void> => {
      for (let round = 0; round < 20; round += 1)
        for (const { pid } of await database.connections())
          await database.sql("select pg_terminate_backend($1)", [pid]);
    })();
    await killing;
    const more = Array.from({ length: 200 }, async (_, index) => backend.emit(`lost ${index % 4}`, 200 + index));
    await Promise.all([...calls, ...more]);
    for (let task = 0; task < 4; task += 1)
      expect(await valuesOf(backend, `lost ${task}`)).toEqual(
        Array.from({ length: 100 }, (_, index) => index * 4 + task),
      );
  });
});
