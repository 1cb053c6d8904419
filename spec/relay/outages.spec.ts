import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { nats, startRelay } from "kojin-postgres/nats";
import { FaultServer } from "../faults/support/fault-server";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { describeWithNats } from "../support/where";
import { openWait, relaySuite, untilLeading, untilStandby } from "./support/relay-suite";

describeWithNats()("a relay, when something breaks", () => {
  const suite = relaySuite("relay outages");
  const { database, results } = suite;
  const insert = async (taskId: string): Promise<unknown> =>
    database.sql(`insert into ${results} (task_id, result) values ($1, '1')`, [taskId]);

  it("asks for what was announced while its listener was away", async () => {
    const relay = suite.relay();
    await untilLeading(relay);
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "unheard");
    const { result: next } = await openWait(waiting, "heard");
    await database.terminateListeners();
    await eventually(async () => expect(await database.listeners()).toEqual([]));
    await insert("unheard");
    expect(await result).toBe(1);
    expect(relay.report).toMatchObject({ terms: 1, rescans: { takeover: 1, reconnect: 1 }, listen: { reconnects: 1 } });
    await insert("heard");
    expect(await next).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });

  it("tells again what a NATS server that was killed may not have passed on, and goes on leading", async () => {
    const proxy = await TcpProxy.start(suite.nats.url);
    const relay = suite.relay({ servers: proxy.route(suite.nats.url) });
    await untilLeading(relay);
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "while NATS is away");
    const { result: next } = await openWait(waiting, "once it is back");
    await suite.nats.kill();
    proxy.mode = "refuse";
    await eventually(() => expect(relay.report).toMatchObject({ ok: false, notifier: { reconnects: 1 } }));
    await insert("while NATS is away");
    await eventually(() => expect(relay.report.unconfirmed).toBeGreaterThan(0));
    await suite.nats.start();
    const heard = await suite.listen();
    proxy.mode = "pass";
    expect(await result).toBe(1);
    // With it what was said just before, which was to look at everything.
    await eventually(() => expect(heard.map(({ payload }) => payload)).toEqual(['{"v":1,"rescan":true}']));
    await untilLeading(relay);
    await waiting.ready();
    await insert("once it is back");
    expect(await next).toBe(1);
    expect(relay.report).toMatchObject({ terms: 1, rescans: { takeover: 1 } });
    await relay.close();
    await proxy.stop();
  });

  it("lets another lead that has NATS", async () => {
    const proxy = await TcpProxy.start(suite.nats.url);
    const first = suite.relay({ servers: proxy.route(suite.nats.url) }, database.url, 1_000);
    await untilLeading(first);
    const second = suite.relay();
    await untilStandby(second);
    proxy.mode = "refuse";
    proxy.cut();
    await untilLeading(second);
    expect(first.report).toMatchObject({ ok: false, role: "standby", listen: { status: "idle" } });
    expect(first.report.problems).toEqual([expect.stringMatching(/^Cannot reach NATS: .+\.$/)]);
    await first.close();
    await proxy.stop();
  });

  it("stands by within seconds when it is cut off from Postgres, before the server gives its lock away", async () => {
    const proxy = await TcpProxy.start(database.url);
    const relay = suite.relay({}, proxy.route(database.url));
    await untilLeading(relay);
    proxy.mode = "blackhole";
    proxy.strand();
    await eventually(() => expect(relay.report.role).toBe("standby"), { timeoutMs: 8_000 });
    expect(relay.report.problems.join()).toContain("Cannot reach the database");
    // To the server its session is as good as before.
    const pids = (await database.connections()).map(({ pid }) => pid);
    const held = await database.sql<{ count: number }>(
      "select count(*)::int from pg_locks where locktype = 'advisory' and pid = any($1)",
      [pids],
    );
    expect(held).toEqual([{ count: 1 }]);
    proxy.mode = "pass";
    proxy.cut();
    await untilLeading(relay);
    expect(relay.report).toMatchObject({ terms: 2, rescans: { takeover: 2 } });
    await relay.close();
    await proxy.stop();
  });
});

describeWithNats()("a relay, when Postgres is ended and started again", () => {
  const suite = relaySuite("relay restarts");
  let server: FaultServer;
  beforeAll(async () => {
    server = await FaultServer.start();
    await using backend = await PostgresResultBackend.connect(server.url);
    await backend.migrate();
  });
  afterAll(async () => server.remove());

  it.each(["fast", "kill -9"] as const)("takes up its work (%s)", async (how) => {
    const pool = new Pool({ connectionString: server.url });
    pool.on("error", () => undefined);
    const relay = startRelay(pool, { notifier: nats({ servers: suite.nats.url }) });
    await untilLeading(relay);
    const notifier = nats({ servers: suite.nats.url });
    const waiting = await PostgresResultBackend.connect(server.url, { notifier, sweepIntervalMs: 600_000 });
    await waiting.ready();
    const { result } = await openWait(waiting, how);
    await server.stop(how);
    await eventually(() => expect(relay.report).toMatchObject({ ok: false, role: "standby" }));
    expect(relay.report.problems.join()).toContain("Cannot reach the database");
    await server.start();
    await server.sql(`insert into kojin_results (task_id, result) values ('${how}', '1')`);
    expect(await result).toBe(1);
    await untilLeading(relay);
    expect(relay.report).toMatchObject({ terms: 2, rescans: { takeover: 2 } });
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    await Promise.all([waiting.close(), relay.close()]);
    await pool.end();
    await eventually(async () => expect(await server.clients()).toEqual([]));
  });
});
