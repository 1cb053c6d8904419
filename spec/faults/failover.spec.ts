import { DatabaseError, type ListenStatus, type PostgresResultBackend } from "kojin-postgres";
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
    // A standby refuses LISTEN (25006).
    expect(secondary.stats().status).toBe("polling");
    expect((await secondary.health()).problems.join()).toContain("recovery");
    const findings = await secondary.diagnose({ probe: false });
    expect(findings.find(({ check }) => check === "server")).toMatchObject({
      verdict: "problem",
      finding: expect.stringContaining("refuses LISTEN") as string,
    });
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

  it("that leaves the listener on the old primary is found by the heartbeat, and told where its address still leads there", async () => {
    const standby = await startStandby();
    const [poolWay, movedWay, stuckWay] = [
      await TcpProxy.start(suite.server.url),
      await TcpProxy.start(suite.server.url),
      await TcpProxy.start(suite.server.url),
    ];
    const open = async (listenWay: TcpProxy): Promise<PostgresResultBackend> =>
      suite.open(
        { listen: { connection: listenWay.route(suite.server.url) }, sweepIntervalMs: 120_000 },
        poolWay.route(suite.server.url),
      );
    const [moved, stuck] = [await open(movedWay), await open(stuckWay)];
    const statuses: Record<"moved" | "stuck", ListenStatus[]> = { moved: [], stuck: [] };
    moved.status$.subscribe((status) => statuses.moved.push(status));
    stuck.status$.subscribe((status) => statuses.stuck.push(status));
    const waits = [moved.wait("across", 120_000), stuck.wait("across", 120_000)];
    const group = moved.waitGroup("across", 120_000);
    await moved.initGroup("across", 1);
    for (const backend of [moved, stuck])
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await eventually(async () =>
      expect(await standby.sql("select from kojin_group_state where group_id = 'across'")).toHaveLength(1),
    );
    await standby.sql("select pg_promote()");
    // The names now resolve to another server. New connections go there, while the listeners' old ones stay and look
    // healthy.
    poolWay.retarget(standby.url);
    movedWay.retarget(standby.url);
    poolWay.cut();
    const splitSince = performance.now();
    await eventually(() => expect(moved.stats().reconnects).toBe(1), { timeoutMs: 30_000 });
    // The heartbeat is sent every 10 s and has 5 s for its answer.
    expect(performance.now() - splitSince).toBeLessThan(20_000);
    await eventually(() => expect(moved.stats().status).toBe("listening"), { timeoutMs: 30_000 });
    await eventually(() => expect(stuck.stats().status).toBe("polling"), { timeoutMs: 30_000 });
    // Before the waits end: a listener that nothing needs gives up its attempts and is idle.
    const { ok, problems } = await stuck.health();
    expect([ok, problems.join()]).toEqual([false, expect.stringContaining("no notification arrives")]);
    await moved.store("across", 1);
    await moved.completeGroupMember("across", "a", 2);
    expect(await Promise.all(waits)).toEqual([1, 1]);
    expect(await group).toEqual([2]);
    expect(statuses.moved).toEqual(["idle", "connecting", "listening", "connecting", "listening"]);
    expect(statuses.stuck).toEqual(["idle", "connecting", "listening", "connecting", "polling"]);
    expect(moved.stats().wokenBy).toMatchObject({ notification: 2 });
    expect(await moved.health()).toMatchObject({ ok: true, problems: [] });
    await Promise.all([moved.close(), stuck.close()]);
    await Promise.all([poolWay.stop(), movedWay.stop(), stuckWay.stop()]);
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
