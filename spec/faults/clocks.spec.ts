import { DatabaseError, type GroupProgress, WaitTimeoutError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";

const dayMs = 86_400_000;

describe("clocks and settings that are off", () => {
  const database = specDatabase("clocks");
  afterEach(() => jest.restoreAllMocks());

  /** Moves this process's wall clock only. Timers and `performance` go on. */
  function skew(byMs: () => number): void {
    const now = Date.now.bind(Date);
    jest.spyOn(Date, "now").mockImplementation(() => now() + byMs());
  }

  it.each([
    ["a day ahead", dayMs],
    ["a day behind", -dayMs],
  ])("of a process that is %s change no result's time to live", async (_what, byMs) => {
    skew(() => byMs);
    const backend = await database.open();
    await backend.store(`kept ${byMs}`, 1, { ttlMs: 60_000 });
    await backend.store(`gone ${byMs}`, 1, { ttlMs: 50 });
    expect(await backend.get(`kept ${byMs}`)).toBe(1);
    const [row] = await database.sql<{ left: number }>(
      `select extract(epoch from expires_at - now())::float8 as left from "${database.schema}".kojin_results where task_id = $1`,
      [`kept ${byMs}`],
    );
    expect(row?.left).toBeGreaterThan(0);
    expect(row?.left).toBeLessThanOrEqual(60);
    await eventually(async () => expect(await backend.get(`gone ${byMs}`)).toBeUndefined());
  });

  it("that jump during a wait neither end it nor prolong it", async () => {
    let byMs = 0;
    skew(() => byMs);
    const [waiting, storing] = [await database.open(), await database.open()];
    const startedAt = performance.now();
    const [short, long] = [
      waiting.wait("never", 1_000).catch((error: unknown) => error),
      waiting.wait("later", 20_000),
    ];
    await eventually(() => expect(waiting.stats().reads.inFlight).toBe(0));
    byMs = 2 * dayMs;
    await waiting.wait("tick", 50).catch(() => undefined);
    byMs = -2 * dayMs;
    expect(await short).toBeInstanceOf(WaitTimeoutError);
    expect(performance.now() - startedAt).toBeGreaterThan(990);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await storing.store("later", 1);
    expect(await long).toBe(1);
  });

  it("lose nothing of the feeds, also through an interruption", async () => {
    let byMs = dayMs;
    skew(() => byMs);
    const [watching, storing] = [await database.open(), await database.open()];
    const [results, groups]: [string[], GroupProgress[]] = [[], []];
    const subscriptions = [
      watching.results$().subscribe(({ taskId }) => results.push(taskId)),
      watching.groupCompletions$().subscribe((progress) => groups.push(progress)),
    ];
    await eventually(() => expect(watching.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await storing.store("before", 1);
    await eventually(() => expect(results).toEqual(["before"]));
    byMs = -dayMs;
    await database.terminateListeners();
    await storing.store("during", 1);
    await storing.initGroup("during", 0);
    await eventually(() => expect(results).toEqual(["before", "during"]), { timeoutMs: 20_000 });
    await eventually(() => expect(groups.map(({ groupId }) => groupId)).toEqual(["during"]), { timeoutMs: 20_000 });
    for (const subscription of subscriptions) subscription.unsubscribe();
  });

  it.each([
    ["TimeZone", "Asia/Kathmandu"],
    ["DateStyle", "SQL,DMY"],
    ["IntervalStyle", "sql_standard"],
    ["bytea_output", "escape"],
    ["extra_float_digits", "-15"],
    ["standard_conforming_strings", "off"],
    ["default_transaction_isolation", "serializable"],
    ["synchronous_commit", "off"],
    ["search_path", "pg_catalog"],
  ])("%s set to %s changes nothing", async (name, value) => {
    const address = withParameter(database.url, "options", `-c ${name}=${value}`);
    const backend = await database.open({ listen: { connection: address } }, address);
    const id = `${name} 'quote' \\ back`;
    const results: string[] = [];
    const subscription = backend.results$().subscribe(({ taskId }) => results.push(taskId));
    const waits = backend.wait(id, 20_000);
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await backend.store(id, { id });
    expect(await waits).toEqual({ id });
    await eventually(() => expect(results).toEqual([id]));
    const startedAt = performance.now();
    await backend.initGroup(id, ["a", "b"], { deadlineMs: 700 });
    await backend.completeGroupMember(id, "b", 0.1 + 0.2);
    await expect(backend.waitGroup(id, 20_000)).rejects.toMatchObject({ name: "WaitTimeoutError", timeoutMs: 700 });
    expect(performance.now() - startedAt).toBeGreaterThan(650);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await backend.prune();
    await backend.store(`${id} gone`, 1, { ttlMs: 1 });
    await eventually(async () => expect((await backend.prune()).results).toBe(1));
    expect(await backend.health()).toMatchObject({ ok: true });
    subscription.unsubscribe();
  });

  it("default_transaction_read_only says so in time, and reading goes on", async () => {
    const address = withParameter(database.url, "options", "-c default_transaction_read_only=on");
    const [backend, writing] = [await database.open({ retryTimeoutMs: 500 }, address), await database.open()];
    const rejection: unknown = await backend.store("read only", 1).catch((error: unknown) => error);
    expect(rejection).toBeInstanceOf(DatabaseError);
    expect(rejection).toMatchObject({ sqlState: "25006", transient: true });
    const waits = backend.wait("read only", 20_000);
    await writing.store("read only", 2);
    expect(await waits).toBe(2);
  });
});
