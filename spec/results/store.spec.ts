import { escapeIdentifier, Pool } from "pg";
import { BackendClosedError, DatabaseError, PostgresResultBackend, ResultEncodingError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("store", () => {
  const database = specDatabase("store");
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  const rows = async (): Promise<{ task_id: string; result: unknown }[]> =>
    database.sql(`select task_id, result from ${table} order by task_id`);

  beforeEach(async () => {
    await database.sql(`delete from ${table}`);
  });

  it("is committed when it resolves", async () => {
    const backend = await database.open();
    await backend.store("t", { a: 1 });
    expect(await rows()).toEqual([{ task_id: "t", result: { a: 1 } }]);
  });

  it("replaces an earlier result, a failure too, and keeps the first if asked to", async () => {
    const backend = await database.open();
    await backend.fail("t", new Error("first"));
    await backend.store("t", "second");
    expect(await backend.get("t")).toBe("second");
    await backend.store("t", "third", { onConflict: "keep" });
    expect(await backend.get("t")).toBe("second");
    await backend.fail("t", new Error("fourth"));
    expect(await backend.getSettled("t")).toMatchObject({ reason: { failure: { message: "fourth" } } });
    await backend.fail("t", new Error("fourth"));
    expect(await backend.getSettled("t")).toMatchObject({ reason: { failure: { message: "fourth" } } });
  });

  it("sends what is called in one turn in one statement, and what comes meanwhile in the next", async () => {
    const backend = await database.open();
    await backend.store("warm", 0);
    const before = backend.stats().stores.statements;
    await Promise.all(Array.from({ length: 1_000 }, async (_, index) => backend.store(`t${index}`, index)));
    expect(backend.stats().stores.statements - before).toBe(1);
    await Promise.all(Array.from({ length: 2_500 }, async (_, index) => backend.store(`t${index}`, index)));
    expect(backend.stats().stores.statements - before).toBe(4);
    expect(await rows()).toHaveLength(2_501);
  });

  it("lets the last of several calls for one task win, also across batches", async () => {
    const backend = await database.open({ batch: { maxRows: 3, inFlight: 4 } });
    const calls: Promise<void>[] = [];
    for (let round = 0; round < 100; round += 1) {
      calls.push(backend.store("same", round), backend.store(`other ${round}`, round));
      if (round % 7 === 0) await calls.at(-1);
    }
    await Promise.all(calls);
    expect(await backend.get("same")).toBe(99);
  });

  it("rejects only the one of a hundred that cannot be encoded", async () => {
    const backend = await database.open();
    const settled = await Promise.allSettled(
      Array.from({ length: 100 }, async (_, index) =>
        backend.store(`t${index}`, index === 42 ? { text: "a\u0000b" } : index),
      ),
    );
    expect(settled.flatMap((each, index) => (each.status === "rejected" ? [index] : []))).toEqual([42]);
    expect(settled[42]).toMatchObject({ reason: { code: "RESULT_ENCODING", taskId: "t42" } });
    expect(await rows()).toHaveLength(99);
  });

  it("rejects only the one of a hundred that Postgres refuses, and tells why", async () => {
    const backend = await database.open();
    await database.sql(`alter table ${table} add constraint no_thirteen check (result <> '13')`);
    try {
      const settled = await Promise.allSettled(
        Array.from({ length: 100 }, async (_, index) => backend.store(`t${index}`, index)),
      );
      expect(settled.flatMap((each, index) => (each.status === "rejected" ? [index] : []))).toEqual([13]);
      expect(settled[13]).toMatchObject({ reason: { code: "DATABASE", sqlState: "23514", transient: false } });
      expect(await rows()).toHaveLength(99);
    } finally {
      await database.sql(`alter table ${table} drop constraint no_thirteen`);
    }
  });

  it("tells the caller of a value that is too deep for jsonb that it cannot be encoded", async () => {
    const url = withParameter(database.url, "options", "-c max_stack_depth=100kB");
    const backend = await PostgresResultBackend.connect(url, { schema: database.schema });
    let deep: unknown = 1;
    for (let level = 0; level < 1_500; level += 1) deep = [deep];
    const [shallow, rejected] = await Promise.allSettled([backend.store("shallow", 1), backend.store("deep", deep)]);
    expect(shallow.status).toBe("fulfilled");
    expect(rejected).toMatchObject({
      reason: { code: "RESULT_ENCODING", taskId: "deep", cause: { sqlState: "54001" } },
    });
    await backend.close();
  });

  it("refuses before sending anything what JSON or jsonb cannot hold", async () => {
    const backend = await database.open({ maxResultBytes: 100 });
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    for (const value of [
      1n,
      cycle,
      "\u0000",
      { deep: ["\ud800"] },
      "x".repeat(99),
      (): void => undefined,
      Symbol("s"),
    ]) {
      await expect(backend.store("bad", value)).rejects.toBeInstanceOf(ResultEncodingError);
    }
    expect(backend.stats().queries).toBeLessThanOrEqual(1);
    await backend.store("x", "x".repeat(98));
    expect(await rows()).toHaveLength(1);
  });

  it("does not deadlock with another process that stores the same tasks in the opposite order", async () => {
    const [one, other] = [
      await database.open({ batch: { inFlight: 4, maxRows: 50 } }),
      await database.open({ batch: { inFlight: 4, maxRows: 50 } }),
    ];
    const ids = Array.from({ length: 200 }, (_, index) => `t${index}`);
    for (let round = 0; round < 15; round += 1) {
      await Promise.all([
        ...ids.map(async (id) => one.store(id, "one")),
        ...[...ids].reverse().map(async (id) => other.store(id, "other")),
      ]);
    }
    expect(one.stats().stores.retries + other.stats().stores.retries).toBe(0);
  });

  it("keeps a result for as long as it is told, by the database's clock", async () => {
    const backend = await database.open({ ttlMs: 60_000 });
    await backend.store("default", 1);
    await backend.store("own", 1, { ttlMs: 5_000 });
    await backend.store("never", 1, { ttlMs: Infinity });
    await backend.withTtl(120_000).store("view", 1);
    const seconds = await database.sql<{ task_id: string; left: number | null }>(
      `select task_id, round(extract(epoch from expires_at - clock_timestamp()))::int as left from ${table} order by task_id`,
    );
    const left = new Map(seconds.map((row) => [row.task_id, row.left]));
    expect(left.get("never")).toBeNull();
    for (const [taskId, expected] of [
      ["default", 60],
      ["own", 5],
      ["view", 120],
    ] as const) {
      expect(Math.abs((left.get(taskId) ?? NaN) - expected)).toBeLessThanOrEqual(2);
    }
  });

  it("is retried through a lost connection", async () => {
    const backend = await database.open();
    await backend.store("warm", 0);
    const lock = await database.pool.connect();
    await lock.query("begin");
    await lock.query(`lock table ${table} in access exclusive mode`);
    const stored = backend.store("retried", 1);
    const [blocked] = await eventually(async () => {
      const waitingForLock = (await database.connections()).filter(
        ({ query, wait_event }) => query.includes("insert into") && wait_event === "relation",
      );
      expect(waitingForLock).toHaveLength(1);
      return waitingForLock;
    });
    await database.sql("select pg_terminate_backend($1)", [blocked?.pid]);
    await lock.query("rollback");
    lock.release();
    await stored;
    expect(await backend.get("retried")).toBe(1);
    expect(backend.stats().stores.retries).toBeGreaterThan(0);
  });

  it("rejects in time, as not known to be stored, when the database does not answer", async () => {
    const proxy = await TcpProxy.start(database.url);
    const pool = new Pool({ connectionString: proxy.route(database.url) });
    const backend = new PostgresResultBackend(pool, { schema: database.schema, retryTimeoutMs: 600 });
    await backend.store("before", 1);
    proxy.mode = "blackhole";
    const startedAt = performance.now();
    const settled = await Promise.allSettled([
      backend.store("lost", 1),
      backend.fail("lost too", new Error("x")),
      backend.get("lost"),
      backend.delete("lost"),
      backend.wait("lost", 300),
      backend.wait("lost", 0),
    ]);
    expect(performance.now() - startedAt).toBeLessThan(2_500);
    const codes = settled.map((each) =>
      each.status === "rejected" ? (each.reason as { code: string }).code : "fulfilled",
    );
    expect(codes).toEqual(["DATABASE", "DATABASE", "DATABASE", "DATABASE", "WAIT_TIMEOUT", "WAIT_TIMEOUT"]);
    expect(settled[0]).toMatchObject({ reason: { transient: true, sqlState: undefined } });
    expect(await backend.health()).toMatchObject({ ok: false });
    proxy.mode = "pass";
    // This pool has no connectionTimeoutMillis: its connection attempts would go on for ever.
    proxy.cut();
    await backend.store("after", 1);
    await backend.close();
    await pool.end();
    await proxy.stop();
  });

  it("waits out an outage that is shorter than retryTimeoutMs", async () => {
    const proxy = await TcpProxy.start(database.url);
    const backend = await PostgresResultBackend.connect(proxy.route(database.url), { schema: database.schema });
    proxy.mode = "refuse";
    proxy.cut();
    const stored = backend.store("patient", 1);
    await eventually(() => expect(backend.stats().stores.retries).toBeGreaterThan(2));
    proxy.mode = "pass";
    await stored;
    await backend.close();
    await proxy.stop();
  });

  it("deletes a result, and tells whether there was one", async () => {
    const backend = await database.open();
    await backend.store("t", 1);
    expect(await backend.delete("t")).toBe(true);
    expect(await backend.delete("t")).toBe(false);
    expect(await backend.get("t")).toBeUndefined();
  });

  describe("by the caller's own client", () => {
    it("wakes no waiter on rollback and every waiter on commit", async () => {
      const [storing, waiting] = [await database.open(), await database.open()];
      await waiting.ready();
      const client = await database.pool.connect();
      await client.query("begin");
      await storing.store("tx", "rolled back", { client });
      await storing.fail("tx failed", new Error("rolled back"), { client });
      await client.query("rollback");
      const waits = Promise.all([
        waiting.wait("tx", 20_000),
        waiting.wait("tx", 20_000),
        waiting.waitSettled("tx failed", 20_000),
      ]);
      await client.query("begin");
      await storing.store("tx", "committed", { client });
      await storing.fail("tx failed", new Error("committed"), { client });
      await storing.store("marker", 1);
      await waiting.wait("marker", 20_000);
      expect(waiting.stats().waiting).toBe(2);
      await client.query("commit");
      expect(await waits).toMatchObject(["committed", "committed", { reason: { failure: { message: "committed" } } }]);
      client.release();
    });

    it("deletes in the transaction, and rejects with our errors", async () => {
      const backend = await database.open();
      await backend.store("t", 1);
      const client = await database.pool.connect();
      await client.query("begin");
      expect(await backend.delete("t", { client })).toBe(true);
      await client.query("rollback");
      expect(await backend.get("t")).toBe(1);
      await client.query("begin read only");
      await expect(backend.store("t", 2, { client })).rejects.toMatchObject({ code: "DATABASE", sqlState: "25006" });
      await client.query("rollback");
      await client.query("begin read only");
      await expect(backend.delete("t", { client })).rejects.toBeInstanceOf(DatabaseError);
      await client.query("rollback");
      client.release();
    });

    it("works with a pool of one connection that the caller holds", async () => {
      const pool = new Pool({ connectionString: database.url, max: 1 });
      const backend = new PostgresResultBackend(pool, { schema: database.schema });
      const client = await pool.connect();
      await client.query("begin");
      await backend.store("held", 1, { client });
      await client.query("commit");
      client.release();
      expect(await backend.wait("held", 20_000)).toBe(1);
      await backend.close();
      await pool.end();
    });
  });

  describe("with notify: 'deferred'", () => {
    it("announces after the commit, and the trigger stands down for that statement alone", async () => {
      const [storing, waiting] = [await database.open({ notify: "deferred" }), await database.open()];
      await waiting.ready();
      const waits = Promise.all(Array.from({ length: 500 }, async (_, index) => waiting.wait(`d${index}`, 20_000)));
      await eventually(() =>
        expect(waiting.stats()).toMatchObject({ waiting: 500, reads: { statements: 1, inFlight: 0 } }),
      );
      await Promise.all(Array.from({ length: 500 }, async (_, index) => storing.store(`d${index}`, index)));
      expect(await waits).toHaveLength(500);
      expect(waiting.stats()).toMatchObject({
        wokenBy: { notification: 500, sweep: 0 },
        notifications: { relevant: 500 },
      });
      const foreign = waiting.wait("foreign", 20_000);
      await database.sql(`insert into ${table} (task_id, result) values ('foreign', '1')`);
      expect(await foreign).toBe(1);
    });

    it("leaves the announcement to the trigger in a caller's transaction", async () => {
      const [storing, waiting] = [await database.open({ notify: "deferred" }), await database.open()];
      await waiting.ready();
      const waits = waiting.wait("tx deferred", 20_000);
      const client = await database.pool.connect();
      await client.query("begin");
      await storing.store("tx deferred", 1, { client });
      await client.query("commit");
      client.release();
      expect(await waits).toBe(1);
      expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    });
  });

  describe("with inlineResultBytes", () => {
    it("brings small results in the notification, without a read", async () => {
      const options = { inlineResultBytes: 100 };
      const [storing, waiting] = [await database.open(options), await database.open(options)];
      await waiting.ready();
      const waits = Promise.all([
        waiting.wait("small", 20_000),
        waiting.wait("large", 20_000),
        waiting.waitSettled("failed", 20_000),
      ]);
      await eventually(() => expect(waiting.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
      await storing.store("small", { ok: true });
      await storing.fail("failed", new Error("no"));
      await storing.store("large", "x".repeat(200));
      expect(await waits).toMatchObject([{ ok: true }, "x".repeat(200), { reason: { failure: { message: "no" } } }]);
      expect(waiting.stats()).toMatchObject({ wokenBy: { inline: 2, notification: 1 }, reads: { statements: 2 } });
    });

    it("does not believe what a notification brings unless it is asked to", async () => {
      const [storing, waiting] = [await database.open({ inlineResultBytes: 100 }), await database.open()];
      await waiting.ready();
      const waits = waiting.wait("inline", 20_000);
      await eventually(() => expect(waiting.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
      await storing.store("inline", 1);
      expect(await waits).toBe(1);
      expect(waiting.stats().wokenBy).toMatchObject({ inline: 0, notification: 1 });
    });
  });

  it("rejects everything once the backend is closed", async () => {
    const backend = await database.open();
    await backend.close();
    for (const call of [
      backend.store("t", 1),
      backend.fail("t", 1),
      backend.get("t"),
      backend.delete("t"),
      backend.migrate(),
      backend.prune(),
      backend.ready(),
    ]) {
      await expect(call).rejects.toBeInstanceOf(BackendClosedError);
    }
  });
});
