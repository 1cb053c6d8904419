import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { escapeIdentifier, Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";
import { TcpProxy } from "./support/tcp-proxy";

describe("close", () => {
  const database = specDatabase("close");
  const gone = async (): Promise<void> => {
    await eventually(async () => expect(await database.ownConnections()).toEqual([]));
  };

  it("may be called twice, at once, and by await using", async () => {
    const backend = await database.open();
    await Promise.all([backend.close(), backend.close()]);
    await backend.close();
    {
      await using other = await PostgresResultBackend.connect(database.url, { schema: database.schema });
      await other.store("t", 1);
    }
    await gone();
  });

  it("leaves nothing connected, in whatever state it is called", async () => {
    const states: [string, (backend: PostgresResultBackend) => Promise<unknown>][] = [
      ["new", async () => Promise.resolve()],
      ["connecting", async (backend) => Promise.resolve(void backend.ready().catch(() => undefined))],
      ["listening", async (backend) => backend.ready()],
      [
        "storing",
        async (backend) =>
          Promise.resolve(void Promise.allSettled([1, 2, 3].map(async (n) => backend.store(`s${n}`, n)))),
      ],
      ["waiting", async (backend) => Promise.resolve(void backend.wait("never", Infinity).catch(() => undefined))],
      ["reconnecting", async (backend) => backend.ready().then(async () => database.terminateListeners())],
    ];
    for (const [state, prepare] of states) {
      const backend = await PostgresResultBackend.connect(database.url, { schema: database.schema });
      await prepare(backend);
      await backend.close();
      await gone().catch((error: unknown) => {
        throw new Error(`Something is left connected after closing while ${state}.`, { cause: error });
      });
    }
  });

  it("does not take back what is being stored", async () => {
    const backend = await database.open();
    const stored = Promise.all(Array.from({ length: 3_000 }, async (_, index) => backend.store(`c${index}`, index)));
    await backend.close();
    await stored;
    const reader = await database.open();
    expect(await reader.get("c2999")).toBe(2_999);
  });

  it("writes nothing once it has resolved, however many stores are queued", async () => {
    const backend = await database.open({ batch: { maxRows: 100 }, listen: false });
    const results = `${escapeIdentifier(database.schema)}.kojin_results`;
    const count = async (): Promise<number> => (await database.sql(`select from ${results}`)).length;
    await database.sql(`create function slow_store() returns trigger language plpgsql
      as $$ begin perform pg_catalog.pg_sleep(0.5); return null; end $$`);
    try {
      await database.sql(
        `create trigger slow after insert on ${results} for each statement execute function slow_store()`,
      );
      const stores = Promise.allSettled(
        Array.from({ length: 10_000 }, async (_, index) => backend.store(`queued ${index}`, index)),
      );
      await eventually(() => expect(backend.stats().stores.inFlight).toBeGreaterThan(0));
      await backend.close();
      const atClose = await count();
      const outcomes = await stores;
      const rejected = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as Error] : []));
      expect(rejected.length).toBeGreaterThan(0);
      expect(new Set(rejected.map(({ name }) => name))).toEqual(new Set(["BackendClosedError"]));
      // A statement still running on the server would end its session only after its commit.
      await gone();
      expect(await count()).toBe(atClose);
    } finally {
      await database.sql("drop function slow_store cascade");
      await database.sql(`delete from ${results}`);
    }
  });

  it.each(["store", "completeGroupMember"] as const)(
    "writes nothing once it has resolved, also of rows that the server writes one by one: %s",
    async (method) => {
      const backend = await database.open({ listen: false, retryTimeoutMs: 60_000 });
      const name = method === "store" ? "kojin_results" : "kojin_groups";
      const table = `${escapeIdentifier(database.schema)}.${name}`;
      const count = async (): Promise<number> =>
        (await database.sql(`select from ${table} where task_id like 'slow %'`)).length;
      await database.sql(`create function slow_row() returns trigger language plpgsql as $$ begin
        if new.task_id = 'bad' then raise exception 'bad'; end if;
        perform pg_catalog.pg_sleep(0.2);
        return new;
      end $$`);
      try {
        await database.sql(`create trigger slow before insert on ${table} for each row execute function slow_row()`);
        const calls = ["bad", ...Array.from({ length: 60 }, (_, index) => `slow ${index}`)].map(async (id) =>
          (method === "store" ? backend.store(id, 1) : backend.completeGroupMember(id, id, 1)).catch(() => undefined),
        );
        await eventually(async () =>
          expect((await database.connections()).map(({ query }) => query).join()).toMatch(/_each/),
        );
        await backend.close();
        const atClose = await count();
        await Promise.all(calls);
        await gone();
        expect(await count()).toBe(atClose);
        expect(atClose).toBeLessThan(60);
      } finally {
        await database.sql("drop function slow_row cascade");
        await database.sql(`delete from ${table}`);
      }
    },
    60_000,
  );

  it("leaves nothing waiting on the server that is written later", async () => {
    const [results, states] = ["kojin_results", "kojin_group_state"].map(
      (table) => `${escapeIdentifier(database.schema)}.${table}`,
    );
    const pool = new Pool({ connectionString: database.poolUrl });
    const backend = new PostgresResultBackend(pool, { schema: database.schema, listen: false, retryTimeoutMs: 60_000 });
    await backend.store("blocked", "before");
    await backend.initGroup("blocked", 2);
    const client = await database.pool.connect();
    await client.query(`begin; select from ${results} where task_id = 'blocked' for update`);
    await client.query(`select from ${states} for update`);
    const calls = [
      backend.store("blocked", "after"),
      backend.delete("blocked"),
      backend.completeGroupMember("blocked", "a", 1),
    ].map(async (call) => call.catch((error: unknown) => error));
    await eventually(() =>
      expect(backend.stats()).toMatchObject({ stores: { inFlight: 1 }, groupWrites: { inFlight: 1 } }),
    );
    await backend.close();
    for (const call of calls) expect(await call).toMatchObject({ code: "BACKEND_CLOSED" });
    await client.query("commit");
    client.release();
    await pool.end();
    // Queues behind each statement that holds or awaits the row's lock.
    expect(await database.sql(`select result from ${results} where task_id = 'blocked' for update`)).toEqual([
      { result: "before" },
    ]);
    expect(await database.sql(`select completed from ${states} for update`)).toEqual([{ completed: 0 }]);
  });

  it("lets open waits go on for drainMs, and begins no new ones", async () => {
    const [backend, storing] = [await database.open(), await database.open()];
    await backend.ready();
    const [waits, never] = [
      backend.wait("drained", 20_000),
      backend.wait("undrained", 20_000).catch((error: unknown) => error),
    ];
    await eventually(() => expect(backend.stats().waiting).toBe(2));
    const closing = backend.close({ drainMs: 1_000 });
    await expect(backend.wait("late", 1_000)).rejects.toMatchObject({ code: "BACKEND_CLOSED" });
    await storing.store("drained", 1);
    expect(await waits).toBe(1);
    await closing;
    expect(await never).toMatchObject({ code: "BACKEND_CLOSED" });
  });

  it("ends as soon as the last wait has ended, however long drainMs is", async () => {
    const backend = await database.open();
    await backend.store("t", 1);
    const startedAt = performance.now();
    await backend.close({ drainMs: 60_000 });
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it("closes the views that withTtl made, and they close it", async () => {
    const backend = await database.open();
    const view = backend.withTtl(1_000);
    await view.close();
    await expect(backend.store("t", 1)).rejects.toMatchObject({ code: "BACKEND_CLOSED" });
  });

  it("does not end a pool that it did not make, nor what else listens in this process", async () => {
    const pool = new Pool({ connectionString: database.url });
    const [backend, other] = [new PostgresResultBackend(pool, { schema: database.schema }), await database.open()];
    await Promise.all([backend.ready(), other.ready()]);
    await backend.close();
    expect((await pool.query<{ one: number }>("select 1 as one")).rows).toEqual([{ one: 1 }]);
    expect(other.stats().status).toBe("listening");
    const waits = other.wait("still heard", 20_000);
    await other.store("still heard", 1);
    expect(await waits).toBe(1);
    await pool.end();
  });

  it("is bounded when nothing answers any more", async () => {
    const proxy = await TcpProxy.start(database.url);
    const backend = await PostgresResultBackend.connect(proxy.route(database.url), { schema: database.schema });
    await backend.ready();
    proxy.mode = "blackhole";
    const lost = [backend.store("lost", 1), backend.wait("lost", Infinity), backend.get("lost")].map(async (call) =>
      call.catch((error: unknown) => error),
    );
    const startedAt = performance.now();
    await backend.close();
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    for (const each of lost) expect(await each).toMatchObject({ code: "BACKEND_CLOSED" });
    await proxy.stop();
    await gone();
  });

  it.each(["close", "close while reading", "no close", "await using"])(
    "lets the process exit by itself: %s",
    async (how) => {
      const child = fork(join(__dirname, "fixtures", "exits.ts"), [how], {
        execArgv: ["--import", "tsx"],
        env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
        stdio: ["ignore", "ignore", "inherit", "ipc"],
      });
      const [code] = (await once(child, "exit")) as [number | null];
      expect(code).toBe(0);
      await gone();
    },
  );
});
