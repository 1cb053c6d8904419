import type { Client } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { describeSincePostgres } from "../support/where";
import { faultSuite, whenNotifying } from "./support/fault-suite";

describeSincePostgres(17, "A queue small enough to be filled")("while the notification queue is full", () => {
  const suite = faultSuite({ max_notify_queue_pages: "64" });
  let backend: PostgresResultBackend;
  let waiting: PostgresResultBackend;
  let blocker: Client;
  let filler: Client;

  /** Another session listens and then stays in a transaction, so the queue keeps everything it has not read. */
  async function fillQueue(): Promise<void> {
    blocker = await suite.connect();
    await blocker.query("listen elsewhere");
    await blocker.query("begin");
    await blocker.query("select 1");
    await expect(
      (async (): Promise<void> => {
        for (let index = 0; index < 10_000; index += 1) {
          await filler.query("select pg_notify('elsewhere', rpad($1::text, 7000, 'x'))", [index]);
        }
      })(),
    ).rejects.toMatchObject({ code: "54000" });
  }

  beforeAll(async () => {
    filler = await suite.connect();
    backend = await suite.open();
    waiting = await suite.open({ sweepIntervalMs: 200 });
    await waiting.ready();
    await fillQueue();
  });

  it("stores all the same, and waiters find the results by sweeping", async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `full ${index}`);
    const waits = ids.map(async (taskId) => waiting.wait(taskId, 20_000));
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    await Promise.all(ids.map(async (taskId) => backend.store(taskId, taskId)));
    expect(await Promise.all(waits)).toEqual(ids);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 50, notification: 0 });
    expect(backend.stats().stores).toMatchObject({ rows: 50, unnotified: whenNotifying(50), retries: 0 });
  });

  it("fails, initialises and completes all the same", async () => {
    await backend.fail("full failure", new Error("its own"));
    await expect(waiting.wait("full failure", 20_000)).rejects.toMatchObject({ code: "TASK_FAILED" });
    await backend.initGroup("full group", 2);
    const waits = waiting.waitGroup("full group", 20_000);
    expect(await backend.completeGroupMember("full group", "a", "first")).toBe(1);
    expect(await backend.completeGroupMember("full group", "b", "second")).toBe(2);
    expect(await waits).toEqual(["first", "second"]);
    expect(backend.stats().groupWrites).toMatchObject({ unnotified: whenNotifying(2) });
  });

  it("still rejects a value that is at fault itself, and only that", async () => {
    const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
    const tooDeep = { toJSON: (): unknown => JSON.parse(deep) as unknown };
    const stored = [backend.store("good", 1), backend.store("bad", tooDeep), backend.store("good too", 2)];
    expect((await Promise.allSettled(stored)).map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    expect([await backend.get("good"), await backend.get("good too")]).toEqual([1, 2]);
  });

  it("is seen in health(), by a heartbeat, and said once", async () => {
    const polling = await suite.open({ sweepIntervalMs: 30_000 });
    const waits = polling.wait("polled", 60_000);
    await eventually(() => expect(polling.stats().status).toBe("polling"), { timeoutMs: 15_000 });
    const health = await polling.health();
    expect(health).toMatchObject({ ok: false, status: "polling", reconnects: 0 });
    expect(health.notifyQueueUsage).toBeGreaterThan(0.9);
    expect(health.problems.join()).toContain("queue");
    await backend.store("polled", 1);
    expect(await waits).toBe(1);
    await Promise.all([backend.store("quiet 1", 1), backend.store("quiet 2", 1)]);
    expect(suite.messages.filter((message) => message.startsWith("Notifications are dropped"))).toHaveLength(1);
  });

  it("is over once the session that held it up goes on, and notifications are heard again", async () => {
    const held = waiting.wait("after", 20_000);
    await eventually(() => expect(waiting.stats().status).toBe("polling"), { timeoutMs: 15_000 });
    await blocker.query("commit");
    // The next heartbeat notices. Not health(): asking for the queue's usage would itself empty the queue.
    await eventually(() => expect(waiting.stats().status).toBe("listening"), { timeoutMs: 15_000 });
    const { unnotified } = backend.stats().stores;
    await backend.store("after", 1);
    expect(await held).toBe(1);
    expect(backend.stats().stores.unnotified).toBe(unnotified);
    expect(await waiting.health()).toMatchObject({ ok: true, problems: [] });
  });
});
