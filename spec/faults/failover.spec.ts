import { DatabaseError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import type { FaultServer } from "./support/fault-server";
import { faultSuite } from "./support/fault-suite";

describe("failover", () => {
  const suite = faultSuite({ wal_level: "replica" });
  const standbys: FaultServer[] = [];

  async function startStandby(): Promise<FaultServer> {
    const standby = await suite.server.startStandby();
    standbys.push(standby);
    return standby;
  }
  afterEach(async () => {
    for (const standby of standbys.splice(0)) await standby.remove();
  });

  it("makes a standby, on which one can only read, one that one listens to", async () => {
    const standby = await startStandby();
    const [primary, secondary] = [await suite.open(), await suite.open({}, standby.url)];
    const waits = [secondary.wait("replicated", 60_000), secondary.wait("promoted", 60_000)];
    await secondary.ready();
    // LISTEN is refused there (25006).
    expect(secondary.stats().status).toBe("polling");
    expect((await secondary.health()).problems.join()).toContain("recovery");
    await primary.store("replicated", 1);
    expect(await waits[0]).toBe(1);
    await standby.sql("select pg_promote()");
    await eventually(() => expect(secondary.stats().status).toBe("listening"), { timeoutMs: 30_000 });
    await secondary.store("promoted", 2);
    expect(await waits[1]).toBe(2);
    expect(await secondary.health()).toMatchObject({ ok: true });
    await Promise.all([primary.close(), secondary.close()]);
  });

  it("is waited for by stores that meet a standby, for as long as they are retried", async () => {
    const standby = await startStandby();
    const [patient, hasty] = [
      await suite.open({}, standby.url),
      await suite.open({ retryTimeoutMs: 300 }, standby.url),
    ];
    const rejection: unknown = await hasty.store("hasty", 1).catch((error: unknown) => error);
    expect(rejection).toBeInstanceOf(DatabaseError);
    expect(rejection).toMatchObject({ sqlState: "25006", transient: true });
    const stored = [patient.store("patient", 1), patient.initGroup("patient", 1)];
    await eventually(() => expect(patient.stats().stores.retries).toBeGreaterThan(1));
    await standby.sql("select pg_promote()");
    await Promise.all(stored);
    expect(await patient.get("patient")).toBe(1);
    await Promise.all([patient.close(), hasty.close()]);
  });

  it("that leaves the listener on the old primary is found by the heartbeat", async () => {
    const standby = await startStandby();
    const [poolWay, listenWay] = [await TcpProxy.start(suite.server.url), await TcpProxy.start(suite.server.url)];
    const backend = await suite.open(
      { listen: { connection: listenWay.route(suite.server.url) } },
      poolWay.route(suite.server.url),
    );
    const across = backend.wait("across", 120_000);
    const group = backend.waitGroup("across", 120_000);
    await backend.initGroup("across", 1);
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await eventually(async () =>
      expect(await standby.sql("select from kojin_group_state where group_id = 'across'")).toHaveLength(1),
    );
    await standby.sql("select pg_promote()");
    // A name that points elsewhere now: new connections go there. The listener's old one stays, and nothing about it looks wrong.
    poolWay.retarget(standby.url);
    listenWay.retarget(standby.url);
    poolWay.cut();
    const splitSince = performance.now();
    await eventually(() => expect(backend.stats().reconnects).toBe(1), { timeoutMs: 30_000 });
    // The heartbeat is sent every 10 s.
    expect(performance.now() - splitSince).toBeLessThan(20_000);
    await eventually(() => expect(backend.stats().status).toBe("listening"), { timeoutMs: 30_000 });
    await backend.store("across", 1);
    await backend.completeGroupMember("across", "a", 2);
    expect(await across).toBe(1);
    expect(await group).toEqual([2]);
    expect(await backend.health()).toMatchObject({ ok: true, problems: [] });
    await backend.close();
    await Promise.all([poolWay.stop(), listenWay.stop()]);
  });

  it("and a crash leave nothing pending, and waits find what is there", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const [waiting, storing] = [
      await suite.open({ listen: { connection: proxy.route(suite.server.url) } }),
      await suite.open(),
    ];
    const waits = waiting.wait("crashed", 60_000);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    proxy.mode = "refuse";
    proxy.cut();
    const stored = storing.store("crashed", 1);
    await stored;
    await suite.server.stop("immediate");
    await suite.server.start();
    proxy.mode = "pass";
    expect(await waits).toBe(1);
    await Promise.all([waiting.close(), storing.close()]);
    await proxy.stop();
  });
});
