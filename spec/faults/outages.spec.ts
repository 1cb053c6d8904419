import { PostgresResultBackend, WaitTimeoutError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

describe("an outage", () => {
  const suite = faultSuite();

  it("longer than any retry is outlived: what was waited for before it is found after it", async () => {
    const [storing, waiting] = [
      // Enough for the first connection to a server that has just started.
      await suite.open({ retryTimeoutMs: 5_000 }),
      await suite.open({ retryTimeoutMs: 1_000 }),
    ];
    await storing.initGroup("before", 2);
    await storing.completeGroupMember("before", "a", 1);
    await waiting.ready();
    const values: string[] = [];
    const subscription = waiting.results$<string>().subscribe(({ taskId }) => values.push(taskId));
    const waits = Array.from({ length: 500 }, async (_, index) => waiting.wait<number>(`long ${index}`, 120_000));
    const group = waiting.waitGroup("before", 120_000);
    const short = waiting.wait("short", 3_000).catch((error: unknown) => error);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));

    await suite.server.stop("fast");
    // Longer than pg-listen's default of two seconds, and than these backends retry.
    const rejection: unknown = await storing.store("unsaid", 1).catch((error: unknown) => error);
    expect(rejection).toMatchObject({ code: "DATABASE", transient: true });
    expect(await short).toBeInstanceOf(WaitTimeoutError);
    expect((await short) as Error).toHaveProperty("cause");
    expect(await waiting.health()).toMatchObject({ ok: false, databaseMs: undefined });
    await expect(waiting.get("long 1")).rejects.toMatchObject({ code: "DATABASE", transient: true });
    expect(waiting.stats()).toMatchObject({ status: "polling", waiting: 500, waitingGroups: 1 });

    await suite.server.start();
    await Promise.all(Array.from({ length: 500 }, async (_, index) => storing.store(`long ${index}`, index)));
    await storing.completeGroupMember("before", "b", 2);
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 500 }, (_, index) => index));
    expect(await group).toEqual([1, 2]);
    await eventually(() => expect(values.filter((taskId) => taskId.startsWith("long")).length).toBe(500));
    expect(new Set(values).size).toBe(values.length);
    const held = waiting.wait("held open", 60_000).catch(() => undefined);
    await eventually(async () => expect(await waiting.health()).toMatchObject({ ok: true, problems: [] }), {
      timeoutMs: 30_000,
    });
    await storing.store("held open", 1);
    await held;
    subscription.unsubscribe();
  });

  it.each(["fast", "immediate", "kill -9"] as const)(
    "by a %s stop loses nothing that was acknowledged",
    async (how) => {
      const [storing, waiting] = [await suite.open(), await suite.open()];
      const taskIds = Array.from({ length: 200 }, (_, index) => `${how} ${index}`);
      const waits = taskIds.map(async (taskId) => waiting.wait(taskId, 60_000));
      // In small batches, so that the stop hits one in the middle.
      const storingAll = (async (): Promise<void> => {
        for (const taskId of taskIds) await storing.store(taskId, taskId);
      })();
      await eventually(() => expect(storing.stats().stores.rows).toBeGreaterThan(20));
      await suite.server.stop(how);
      await suite.server.start();
      await storingAll;
      expect(await Promise.all(waits)).toEqual(taskIds);
      for (const taskId of [taskIds[0], taskIds[99], taskIds[199]])
        expect(await storing.get(taskId ?? "")).toBe(taskId);
    },
  );

  it("of everything but the pool is bridged by reading, of the pool by retrying", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const backend = await suite.open(
      { listen: { connection: suite.server.url }, retryTimeoutMs: 30_000 },
      proxy.route(suite.server.url),
    );
    await backend.ready();
    proxy.mode = "refuse";
    proxy.cut();
    const stored = backend.store("through", 1);
    const waits = backend.wait("through", 30_000);
    await eventually(() => expect(backend.stats().stores.retries).toBeGreaterThan(2));
    proxy.mode = "pass";
    await stored;
    expect(await waits).toBe(1);
    await backend.close();
    await proxy.stop();
  });

  it("of a slow network only makes things slow", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    proxy.delayMs = 50;
    const [near, far] = [await suite.open(), await suite.open({}, proxy.route(suite.server.url))];
    await far.ready();
    const waits = Array.from({ length: 100 }, async (_, index) => far.wait(`far ${index}`, 30_000));
    await Promise.all(Array.from({ length: 100 }, async (_, index) => near.store(`far ${index}`, index)));
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 100 }, (_, index) => index));
    await far.store("near", 1);
    expect(await near.wait("near", 30_000)).toBe(1);
    // A slow or distant connection does not count as lost.
    expect(far.stats()).toMatchObject({ status: "listening", reconnects: 0 });
    await far.close();
    await proxy.stop();
  });
});

describe("a black hole", () => {
  const suite = faultSuite();

  it("around the listener is noticed within two heartbeats, and the listener replaced", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const [storing, waiting] = [
      await suite.open(),
      await suite.open({ listen: { connection: proxy.route(suite.server.url) } }),
    ];
    const held = waiting.wait("held", 60_000);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    proxy.mode = "blackhole";
    const silentSince = performance.now();
    await storing.store("held", 1);
    const others = waiting.wait("other", 60_000);
    await eventually(() => expect(waiting.stats().status).not.toBe("listening"), { timeoutMs: 25_000 });
    // The heartbeat is sent every 10 s.
    expect(performance.now() - silentSince).toBeLessThan(20_000);
    proxy.mode = "pass";
    expect(await held).toBe(1);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reconnects: 1 }), {
      timeoutMs: 25_000,
    });
    await storing.store("other", 2);
    expect(await others).toBe(2);
    await waiting.close();
    await proxy.stop();
  });

  it("gives a wait of 0 ms one second, however long reads are retried", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const backend = await PostgresResultBackend.connect(proxy.route(suite.server.url), { retryTimeoutMs: 30_000 });
    expect(await backend.get("never")).toBeUndefined();
    proxy.mode = "blackhole";
    const startedAt = performance.now();
    const waits = [backend.wait("never", 0), backend.waitSettled("never", 0), backend.waitGroup("never", 0)];
    for (const wait of waits) await expect(wait).rejects.toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: 0 });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await backend.close();
    await proxy.stop();
  });

  it("around everything lets every call settle within its deadline", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const backend = await PostgresResultBackend.connect(proxy.route(suite.server.url), { retryTimeoutMs: 1_000 });
    await backend.store("before", 1);
    await backend.initGroup("before", 1);
    proxy.mode = "blackhole";
    const limits: Record<string, [Promise<unknown>, number]> = {
      store: [backend.store("lost", 1), 1_000],
      fail: [backend.fail("lost too", new Error("x")), 1_000],
      get: [backend.get("before"), 1_000],
      getSettled: [backend.getSettled("before"), 1_000],
      delete: [backend.delete("before"), 1_000],
      wait: [backend.wait("never", 500), 1_500],
      waitSettled: [backend.waitSettled("never", 0), 1_000],
      initGroup: [backend.initGroup("lost", 1), 1_000],
      completeGroupMember: [backend.completeGroupMember("before", "a", 1), 1_000],
      failGroupMember: [backend.failGroupMember("before", "b", 1), 1_000],
      getGroup: [backend.getGroup("before"), 1_000],
      getGroupResults: [backend.getGroupResults("before"), 1_000],
      waitGroup: [backend.waitGroup("before", 500), 1_500],
      claimGroup: [backend.claimGroup("before"), 1_000],
      unclaimedGroups: [backend.unclaimedGroups(), 1_000],
      ready: [backend.ready(), 15_000],
      health: [backend.health(), 6_000],
      migrate: [backend.migrate(), 10_000],
      prune: [backend.prune(), 30_000],
    };
    const startedAt = performance.now();
    const outcomes = await Promise.all(
      Object.entries(limits).map(async ([name, [call, limitMs]]) => {
        const code = await call.then(
          () => "resolved",
          (error: unknown) => (error as { code?: string }).code,
        );
        return { name, code, isInTime: performance.now() - startedAt < limitMs + 1_000 };
      }),
    );
    const late = outcomes.filter(({ isInTime }) => !isInTime);
    expect(late).toEqual([]);
    const waits = new Set(["wait", "waitSettled", "waitGroup"]);
    for (const { name, code } of outcomes) {
      const resolves = name === "ready" || name === "health";
      expect({ name, code }).toEqual({
        name,
        code: resolves ? "resolved" : waits.has(name) ? "WAIT_TIMEOUT" : "DATABASE",
      });
    }
    const closingAt = performance.now();
    await backend.close();
    expect(performance.now() - closingAt).toBeLessThan(10_000);
    await proxy.stop();
  });
});
