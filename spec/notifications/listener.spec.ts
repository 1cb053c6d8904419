import { Client, Pool } from "pg";
import { firstValueFrom, filter } from "rxjs";
import { PostgresResultBackend, WaitTimeoutError, type ListenStatus } from "kojin-postgres";
import { Database } from "../../lib/database/database";
import { SessionConfig } from "../../lib/database/session-config";
import { channelOf } from "../../lib/notifications/payload";
import { PostgresNotifications } from "../../lib/notifications/postgres-notifications";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("the listener", () => {
  const database = specDatabase("listener");
  const times = { heartbeatMs: 200, heartbeatTimeoutMs: 300, selfTestMs: 1_000 };
  const silent = { info: (): void => undefined, warn: (): void => undefined, error: (): void => undefined };

  function recordStatus(backend: PostgresResultBackend): ListenStatus[] {
    const statuses: ListenStatus[] = [];
    backend.status$.subscribe((status) => statuses.push(status));
    return statuses;
  }

  it("is opened by the first wait, and shows it on status$", async () => {
    const backend = await database.open();
    const statuses = recordStatus(backend);
    expect(statuses).toEqual(["idle"]);
    const waits = backend.wait("x", 20_000);
    await eventually(() => expect(statuses).toEqual(["idle", "connecting", "listening"]));
    await backend.store("x", 1);
    await waits;
    await backend.close();
    expect(statuses).toEqual(["idle", "connecting", "listening", "closed"]);
    expect(await firstValueFrom(backend.status$)).toBe("closed");
  });

  it("is there at once for a backend that comes later", async () => {
    const [first, second] = [await database.open(), await database.open()];
    await first.ready();
    await second.ready();
    expect(second.stats().status).toBe("listening");
    expect(await database.listeners()).toHaveLength(1);
    const waits = second.wait("late comer", 20_000);
    await first.store("late comer", 1);
    expect(await waits).toBe(1);
  });

  it("comes back after its connection was terminated, and reads again what was stored meanwhile", async () => {
    const warnings: string[] = [];
    const backend = await database.open({ logger: { ...silent, warn: (message) => warnings.push(message) } });
    const storing = await database.open();
    const statuses = recordStatus(backend);
    await backend.ready();
    const waits = backend.wait("gap", 20_000);
    await eventually(() => expect(backend.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    const listening = firstValueFrom(backend.status$.pipe(filter((status) => status === "connecting")));
    await database.terminateListeners();
    await listening;
    await storing.store("gap", 1);
    expect(await waits).toBe(1);
    expect(statuses.slice(0, 5)).toEqual(["idle", "connecting", "listening", "connecting", "listening"]);
    expect(backend.stats().reconnects).toBe(1);
    expect(warnings).toHaveLength(1);
    expect(
      backend.stats().wokenBy.sweep + backend.stats().wokenBy.reconnect + backend.stats().wokenBy.notification,
    ).toBe(1);
  });

  it("resolves waits by reading while it cannot connect, and tries for ever", async () => {
    const proxy = await TcpProxy.start(database.url);
    proxy.mode = "refuse";
    const [backend, storing] = [
      await database.open({ listen: { connection: proxy.route(database.url) } }),
      await database.open(),
    ];
    const waits = backend.wait("polled", 20_000);
    await backend.ready();
    expect(backend.stats().status).toBe("polling");
    expect(await backend.health()).toMatchObject({ ok: false, status: "polling", problems: [expect.any(String)] });
    await storing.store("polled", 1);
    expect(await waits).toBe(1);
    const [held] = [backend.wait("held", 20_000)];
    proxy.mode = "pass";
    await eventually(() => expect(backend.stats().status).toBe("listening"), { timeoutMs: 10_000 });
    expect(await backend.health()).toMatchObject({ ok: true });
    await storing.store("held", 2);
    expect(await held).toBe(2);
    await backend.close();
    await proxy.stop();
  });

  it("reports once that it hears nothing although LISTEN succeeds, and waits still resolve", async () => {
    // LISTEN in another database of the same server is as deaf as LISTEN through a transaction pooler.
    const elsewhere = new URL(database.url);
    elsewhere.pathname = "/template1";
    const warnings: string[] = [];
    const logger = { ...silent, warn: (message: string) => void warnings.push(message) };
    const [backend, storing] = [
      await database.open({ listen: { connection: elsewhere.href }, logger }),
      await database.open(),
    ];
    const waits = backend.wait("deaf", 20_000);
    await backend.ready();
    expect(backend.stats().status).toBe("polling");
    expect((await backend.health()).problems).toEqual([expect.stringContaining("transaction pooler")]);
    await storing.store("deaf", 1);
    expect(await waits).toBe(1);
    expect(warnings).toEqual([expect.stringContaining("transaction pooler")]);
  });

  it("polls by choice with listen: false, and opens no connection for it", async () => {
    const [backend, storing] = [await database.open({ listen: false }), await database.open()];
    await backend.ready();
    const waits = backend.wait("choice", 20_000);
    await eventually(() => expect(backend.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    await storing.store("choice", 1);
    expect(await waits).toBe(1);
    expect(backend.stats()).toMatchObject({ status: "polling", wokenBy: { sweep: 1 } });
    expect(await database.listeners()).toEqual([]);
  });

  it("counts invalid payloads and ignores them", async () => {
    const backend = await database.open();
    await backend.ready();
    const waits = backend.wait("real", 20_000);
    await eventually(() => expect(backend.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    const garbage = [
      "",
      "x",
      "{}",
      "null",
      "[]",
      '{"v":1}',
      '{"v":2,"ids":["real"]}',
      '{"v":1,"ids":[1]}',
      '{"v":1,"ids":"real"}',
      '{"v":1,"ids":[["real","666",null,1,1]]}',
    ];
    for (const payload of garbage)
      await database.sql("select pg_notify($1, $2)", [channelOf(database.schema), payload]);
    await database.sql("select pg_notify($1, $2)", [
      channelOf(database.schema),
      '{"v":1,"ids":["real","nobody waits for this"]}',
    ]);
    await eventually(() => expect(backend.stats().notifications.relevant).toBe(2));
    // An empty payload is not delivered as one; the last one has the right shape, and causes a read.
    expect(backend.stats().notifications.invalid).toBe(garbage.length - 2);
    expect(backend.stats().waiting).toBe(1);
    await backend.store("real", 1);
    expect(await waits).toBe(1);
  });

  it("notices a connection that has gone silent, and replaces it", async () => {
    const proxy = await TcpProxy.start(database.url);
    const backend = await database.open();
    const notifications = new PostgresNotifications({
      config: new SessionConfig(
        database.pool,
        proxy.route(withParameter(database.url, "application_name", database.schema)),
        "listener",
      ),
      schema: database.schema,
      database: new Database(database.pool, database.schema),
      logger: silent,
      times,
    });
    const heard: string[] = [];
    notifications.notifications$.subscribe(({ taskIds }) => heard.push(...taskIds));
    const release = notifications.demand();
    await eventually(() => expect(notifications.report.status).toBe("listening"));
    proxy.mode = "blackhole";
    await eventually(() => expect(notifications.report.problem).toContain("heartbeat"), { timeoutMs: 2_000 });
    proxy.mode = "pass";
    await eventually(() => expect(notifications.report.status).toBe("listening"), { timeoutMs: 10_000 });
    await backend.store("heard", 1);
    await eventually(() => expect(heard).toContain("heard"));
    expect(notifications.report).toMatchObject({ reconnects: 1, problem: undefined });
    expect(notifications.report.heartbeatMs).toBeGreaterThan(0);
    release();
    await notifications.close();
    await proxy.stop();
  });

  it("keeps its connection while the pool cannot send heartbeats", async () => {
    const proxy = await TcpProxy.start(database.url);
    const pool = new Pool({ connectionString: proxy.route(database.url) });
    pool.on("error", () => undefined);
    const notifications = new PostgresNotifications({
      config: new SessionConfig(
        database.pool,
        withParameter(database.url, "application_name", database.schema),
        "listener",
      ),
      schema: database.schema,
      database: new Database(pool, database.schema),
      logger: silent,
      times,
    });
    notifications.demand();
    await eventually(() => expect(notifications.report.status).toBe("listening"));
    const [pid] = await database.listeners();
    proxy.mode = "refuse";
    proxy.cut();
    const client = new Client(database.url);
    await client.connect();
    // Heartbeats are due every 200 ms: several have failed by the time a few round trips of waiting are over.
    await client.query("select pg_sleep(1)");
    await client.end();
    expect(await database.listeners()).toEqual([pid]);
    expect(notifications.report).toMatchObject({ status: "listening", reconnects: 0 });
    await notifications.close();
    await pool.end();
    await proxy.stop();
  });

  it("sleeps without waiters: a lost connection is not replaced until the next wait", async () => {
    const [backend, storing] = [await database.open(), await database.open()];
    await backend.ready();
    await database.terminateListeners();
    await eventually(() => expect(backend.stats().status).toBe("idle"));
    expect(await database.listeners()).toEqual([]);
    const waits = backend.wait("awake", 20_000);
    await eventually(() => expect(backend.stats().status).toBe("listening"));
    await storing.store("awake", 1);
    expect(await waits).toBe(1);
  });

  it("times a wait out in time while nothing answers at all", async () => {
    const proxy = await TcpProxy.start(database.url);
    const backend = await PostgresResultBackend.connect(proxy.route(database.url), { schema: database.schema });
    await backend.ready();
    proxy.mode = "blackhole";
    const startedAt = performance.now();
    await expect(backend.wait("nothing", 500)).rejects.toBeInstanceOf(WaitTimeoutError);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    const closing = performance.now();
    await backend.close();
    expect(performance.now() - closing).toBeLessThan(3_000);
    await proxy.stop();
    await eventually(async () => expect(await database.ownConnections()).toEqual([]), { timeoutMs: 10_000 });
  });
});
