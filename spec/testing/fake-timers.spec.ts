import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import type { PostgresResultBackend } from "kojin-postgres";
import { MemoryResultBackend } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";

const timersAndDate = ["nextTick", "queueMicrotask", "performance", "hrtime"] as const;

describe.each<[string, Parameters<typeof jest.useFakeTimers>[0]]>([
  ["as Jest replaces them", {}],
  ["as Vitest replaces them", { doNotFake: ["nextTick", "queueMicrotask"] }],
  ["and Date alone, as Vitest before 3 does", { doNotFake: [...timersAndDate] }],
])("fake timers, %s", (_name, config) => {
  let results: MemoryResultBackend;
  beforeEach(() => {
    jest.useFakeTimers(config);
    results = new MemoryResultBackend();
  });
  afterEach(async () => {
    await results.close();
    expect(results.stats()).toEqual({ waiting: 0 });
    jest.useRealTimers();
  });

  it("end waits, each in its own time", async () => {
    const ended: string[] = [];
    const wait = async (name: string, timeoutMs: number): Promise<void> =>
      results.wait(name, { timeoutMs, schema: z.unknown() }).then(
        () => ended.push(`${name} stored`),
        () => ended.push(`${name} late`),
      ) as unknown as Promise<void>;
    const waits = [wait("a", 5_000), wait("b", 86_400_000)];
    await jest.advanceTimersByTimeAsync(2_000);
    waits.push(wait("c", 4_000));
    await jest.advanceTimersByTimeAsync(2_999);
    expect(ended).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    expect(ended).toEqual(["a late"]);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(ended).toEqual(["a late", "c late"]);
    await results.store("b", 1);
    await Promise.all(waits);
    expect(ended).toEqual(["a late", "c late", "b stored"]);
  });

  it("end times to live, groups and leases", async () => {
    await results.store("t", 1, { ttlMs: 60_000 });
    await results.initGroup("open", 2, { deadlineMs: 60_000 });
    await results.initGroup("done", 0);
    const waiting = results.waitGroup("open", Infinity).catch((error: unknown) => error);
    expect(await results.claimGroup("done", { leaseMs: 60_000 })).toBeDefined();
    await jest.advanceTimersByTimeAsync(59_999);
    expect(await results.get("t")).toBe(1);
    expect(await results.claimGroup("done")).toBeUndefined();
    await jest.advanceTimersByTimeAsync(1);
    expect(await results.get("t")).toBeUndefined();
    expect(await waiting).toMatchObject({ code: "WAIT_TIMEOUT" });
    expect(await results.claimGroup("done")).toBeDefined();
  });
});

it("the timers of node:test end waits and times to live", async () => {
  const repository = resolve(__dirname, "../..");
  const fixture = join(__dirname, "fixtures/node-test-timers.ts");
  // Otherwise `node --test` would report to the test that started it.
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  const run = promisify(execFile)(process.execPath, ["--import", "tsx", "--test", fixture], { cwd: repository, env });
  expect((await run).stdout).toMatch(/pass 2\n/);
});

describe("a fake date", () => {
  const database = specDatabase("fake date");
  afterEach(() => jest.useRealTimers());

  it("does not disturb a backend on a real server", async () => {
    const fakes = [
      "setTimeout",
      "clearTimeout",
      "setInterval",
      "clearInterval",
      "setImmediate",
      "clearImmediate",
    ] as const;
    jest.useFakeTimers({ now: new Date("2030-01-01"), doNotFake: [...fakes, ...timersAndDate] });
    const backend: PostgresResultBackend = await database.open();
    const waiting = backend.wait("t", 30_000);
    await backend.store("t", 1, { ttlMs: 60_000 });
    await expect(waiting).resolves.toBe(1);
    await expect(backend.wait("never", 50)).rejects.toMatchObject({ code: "WAIT_TIMEOUT" });
    expect(await backend.get("t")).toBe(1);
  });
});
