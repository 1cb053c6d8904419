import { escapeIdentifier } from "pg";
import { TaskNotFoundError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const mustExist = true;

describe("expected tasks", () => {
  const database = specDatabase("expectations");
  const schema = escapeIdentifier(database.schema);
  const expire = async (table: string, taskId: string): Promise<unknown> =>
    database.sql(`update ${schema}.${table} set expires_at = now() - interval '1 hour' where task_id = $1`, [taskId]);
  const count = async (table: string, taskId: string): Promise<unknown> =>
    (await database.sql(`select count(*)::int from ${schema}.${table} where task_id = $1`, [taskId]))[0]?.["count"];

  it("exist once the transaction that expects them has committed", async () => {
    const [storing, waiting] = [await database.open(), await database.open()];
    const client = await database.pool.connect();
    await client.query("begin");
    await storing.expect("t", { client });
    await expect(waiting.wait("t", { timeoutMs: 20_000, mustExist })).rejects.toBeInstanceOf(TaskNotFoundError);
    await client.query("commit");
    const result = waiting.wait("t", { timeoutMs: 20_000, mustExist });
    await client.query("begin");
    await storing.store("t", 7, { client });
    await eventually(() => expect(waiting.stats().waiting).toBe(1));
    await client.query("commit");
    client.release();
    expect(await result).toBe(7);
  });

  it("can be expected in SQL", async () => {
    const backend = await database.open();
    await database.sql(`select ${schema}.kojin_expect('in SQL')`);
    await database.sql(`select ${schema}.kojin_expect(task_id => 'in SQL for ever', ttl => null)`);
    for (const id of ["in SQL", "in SQL for ever"]) expect(await backend.get(id, { mustExist })).toBeUndefined();
    const lifetimes = await database.sql<{ hours: number | null }>(
      `select round(extract(epoch from expires_at - now()) / 3600)::int as hours from ${schema}.kojin_streams
       where task_id like 'in SQL%' order by task_id`,
    );
    expect(lifetimes.map(({ hours }) => hours)).toEqual([24, null]);
    for (const call of ["kojin_expect('')", "kojin_expect('t', '0')", "kojin_expect(null)"])
      await expect(database.sql(`select ${schema}.${call}`)).rejects.toMatchObject({ code: "22023" });
  });

  it("are pruned if nothing was stored, and otherwise with their result", async () => {
    const backend = await database.open();
    for (const id of ["never stored", "stored"]) await backend.expect(id, { ttlMs: 600_000 });
    await backend.store("stored", 1);
    for (const id of ["never stored", "stored"]) await expire("kojin_streams", id);
    await expect(backend.get("never stored", { mustExist })).rejects.toBeInstanceOf(TaskNotFoundError);
    expect(await backend.get("stored", { mustExist })).toBe(1);
    expect(await backend.countExpired()).toMatchObject({ streams: 1 });
    expect(await backend.prune()).toMatchObject({ results: 0, streams: 1 });
    await expire("kojin_results", "stored");
    await expect(backend.get("stored", { mustExist })).rejects.toBeInstanceOf(TaskNotFoundError);
    expect(await backend.prune()).toMatchObject({ results: 1, streams: 0 });
    expect(await count("kojin_streams", "stored")).toBe(0);
  });

  it("do not revive chunks that have expired", async () => {
    const backend = await database.open();
    await backend.emit("again", "old");
    await expire("kojin_streams", "again");
    await backend.expect("again");
    const seen: unknown[] = [];
    const subscription = backend.chunks$("again").subscribe((chunk) => seen.push(chunk));
    await eventually(() => expect(backend.stats()).toMatchObject({ waitingChunks: 1, reads: { inFlight: 0 } }));
    expect(await backend.emit("again", "new")).toBe(1);
    await eventually(() => expect(seen).toEqual([{ kind: "chunk", attempt: 2, sequence: 1, value: "new" }]));
    subscription.unsubscribe();
    expect(await count("kojin_chunks", "again")).toBe(1);
  });

  it("cause no reads while their chunks are awaited", async () => {
    const backend = await database.open({ sweepIntervalMs: 600_000 });
    await backend.ready();
    await backend.expect("quiet");
    const subscription = backend.chunks$("quiet").subscribe();
    await eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    const { statements } = backend.stats().reads;
    for (let round = 0; round < 5; round += 1) await backend.health();
    expect(backend.stats().reads.statements).toBe(statements);
    subscription.unsubscribe();
  });

  it("cost calls without mustExist no statement, and calls with it one that they share", async () => {
    const backend = await database.open({ listen: false });
    await backend.expect("counted");
    /** The least of three times, since a read may be repeated, and the backend may send a statement of its own. */
    const queriesOf = async (calls: () => Promise<unknown>): Promise<number> => {
      const counts: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const { queries } = backend.stats();
        await calls();
        counts.push(backend.stats().queries - queries);
      }
      return Math.min(...counts);
    };
    expect(await queriesOf(async () => backend.get("counted"))).toBe(1);
    expect(await queriesOf(async () => backend.get("counted", { mustExist }))).toBe(2);
    expect(await queriesOf(async () => backend.store("counted", 1))).toBe(1);
    expect(await queriesOf(async () => backend.get("counted", { mustExist }))).toBe(1);
    expect(await queriesOf(async () => backend.wait("counted", 0))).toBe(1);
    const waits = async (): Promise<unknown> =>
      Promise.all(
        Array.from({ length: 50 }, async (_, index) =>
          backend.wait(`unknown ${index}`, { timeoutMs: 20_000, mustExist }).catch(() => undefined),
        ),
      );
    expect(await queriesOf(waits)).toBe(1);
  });
});

describe("waits for tasks that must exist, on a database that fails", () => {
  const database = specDatabase("expectations outage");

  it("end in time, and find out after the outage", async () => {
    const proxy = await TcpProxy.start(database.url);
    const [storing, waiting] = [await database.open(), await database.open({}, proxy.route(database.url))];
    await storing.expect("expected");
    await waiting.get("warm");
    proxy.mode = "refuse";
    proxy.cut();
    const startedAt = performance.now();
    const late = { code: "WAIT_TIMEOUT", timeoutMs: 100 };
    await expect(waiting.wait("expected", { timeoutMs: 100, mustExist })).rejects.toMatchObject(late);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    const expected = waiting.wait("expected", { timeoutMs: 30_000, mustExist });
    const unknown = waiting.wait("unknown", { timeoutMs: 30_000, mustExist }).catch((error: unknown) => error);
    await storing.store("expected", 1);
    proxy.mode = "pass";
    expect(await expected).toBe(1);
    expect(await unknown).toBeInstanceOf(TaskNotFoundError);
    await waiting.close();
    await proxy.stop();
  });

  it("go on without the check if the outage lasts longer than it is retried", async () => {
    const proxy = await TcpProxy.start(database.url);
    const [storing, waiting] = [
      await database.open(),
      await database.open({ retryTimeoutMs: 200 }, proxy.route(database.url)),
    ];
    await waiting.get("warm");
    proxy.mode = "refuse";
    proxy.cut();
    const wait = waiting.wait("outlasted", { timeoutMs: 30_000, mustExist });
    await eventually(() => expect(waiting.stats().waiting).toBe(1));
    await storing.store("outlasted", 2);
    proxy.mode = "pass";
    expect(await wait).toBe(2);
    await waiting.close();
    await proxy.stop();
  });
});
