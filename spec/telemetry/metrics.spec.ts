import type { Histogram } from "@opentelemetry/sdk-metrics";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { Sdk } from "./support/sdk";

const countOf = (value: unknown): number => (value as Histogram | undefined)?.count ?? 0;

describe("metrics", () => {
  const database = specDatabase("metrics");
  const here = { "messaging.destination.name": `${database.schema}.kojin_results` };
  let sdk: Sdk;

  beforeEach(() => {
    sdk = new Sdk();
    sdk.start();
  });
  afterEach(async () => sdk.stop());

  it("count open waits, of all backends on the same tables", async () => {
    const [one, other] = [await database.open({ telemetry: true }), await database.open({ telemetry: true })];
    const waits = [one.wait("a", 20_000), one.wait("b", 20_000), other.wait("a", 20_000), other.waitGroup("g", 20_000)];
    await eventually(async () => {
      expect(await sdk.metric("kojin.client.wait.count", { ...here, "kojin.wait.kind": "task" })).toBe(3);
      expect(await sdk.metric("kojin.client.wait.count", { ...here, "kojin.wait.kind": "group" })).toBe(1);
    });
    await Promise.all([one.store("a", 1), one.store("b", 1), one.initGroup("g", 0)]);
    await Promise.all(waits);
    expect(await sdk.metric("kojin.client.wait.count", { ...here, "kojin.wait.kind": "task" })).toBe(0);
  });

  it("measure how long a wake-up takes, of waits that were woken", async () => {
    const backend = await database.open({ telemetry: { traces: false } });
    await backend.ready();
    await backend.store("there", 1);
    await eventually(async () => {
      const [row] = await database.sql<{ age: number }>(
        `select extract(epoch from clock_timestamp() - stored_at)::float8 as age from "${database.schema}".kojin_results where task_id = 'there'`,
      );
      expect(row?.age).toBeGreaterThan(0.5);
    });
    const startedAt = performance.now();
    await backend.wait("there", 20_000);
    // On a machine so busy that the read took longer than the result is old it counts as woken.
    const isSlow = performance.now() - startedAt > 500;
    expect(countOf(await sdk.metric("kojin.client.wake.duration", here))).toBe(isSlow ? 1 : 0);
    const waited = backend.wait("later", 20_000);
    await eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    await backend.store("later", 1);
    await waited;
    const woken = (await sdk.metric("kojin.client.wake.duration", here)) as Histogram;
    expect(woken.count).toBe(isSlow ? 2 : 1);
    expect(woken.sum).toBeGreaterThan(0);
    expect(woken.sum).toBeLessThan(isSlow ? 60 : 20);
    expect(await sdk.metric("kojin.client.wakes", { ...here, "kojin.wake.cause": "notification" })).toBe(1);
    expect(sdk.spans(`wait ${here["messaging.destination.name"]}`)).toEqual([]);
  });

  it("show sizes of batches, and how long calls take and how they end", async () => {
    const backend = await database.open({ telemetry: true });
    await backend.initGroup("group", 2);
    await Promise.all([
      ...Array.from({ length: 20 }, async (_, index) => backend.store(`batch ${index}`, index)),
      ...["a", "b"].map(async (taskId) => backend.completeGroupMember("group", taskId, 1)),
    ]);
    await backend.wait("batch 0", 20_000);
    await expect(backend.wait("never", 0)).rejects.toMatchObject({ code: "WAIT_TIMEOUT" });
    const sizes = async (kind: string): Promise<Histogram> =>
      (await sdk.metric("kojin.client.batch.size", { ...here, "kojin.batch.kind": kind })) as Histogram;
    expect(await sizes("store")).toMatchObject({ count: backend.stats().stores.statements, sum: 20 });
    expect(await sizes("group")).toMatchObject({ count: 1, sum: 2 });
    expect((await sizes("read")).count).toBe(backend.stats().reads.statements);
    const durations = async (attributes: Record<string, string>): Promise<number> =>
      countOf(await sdk.metric("messaging.client.operation.duration", { ...here, ...attributes }));
    expect(await durations({ "messaging.operation.name": "store" })).toBe(20);
    expect(await durations({ "messaging.operation.name": "wait", "error.type": "WaitTimeoutError" })).toBe(1);
    expect(await sdk.metric("messaging.client.sent.messages", here)).toBe(20);
  });

  it("count reconnects, and go on where a closed backend has stopped", async () => {
    const backend = await database.open({ telemetry: true });
    await backend.ready();
    const waited = backend.wait("outage", 30_000);
    await database.terminateListeners();
    await eventually(async () => expect(await sdk.metric("kojin.client.listener.reconnects", here)).toBe(1), {
      timeoutMs: 20_000,
    });
    await backend.store("outage", 1);
    await waited;
    await backend.close();
    const next = await database.open({ telemetry: true });
    await next.store("next", 1);
    expect(await sdk.metric("kojin.client.listener.reconnects", here)).toBe(1);
    expect(await sdk.metric("messaging.client.sent.messages", here)).toBe(2);
    expect(await sdk.metric("kojin.client.wait.count", { ...here, "kojin.wait.kind": "task" })).toBe(0);
  });

  it("count what a sweep has caught, of a listener that does not know that it is deaf", async () => {
    const backend = await database.open({ telemetry: true, sweepIntervalMs: 100 });
    await backend.ready();
    const waited = backend.wait("unannounced", 30_000);
    await eventually(() => {
      expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 });
      expect(backend.stats().reads.statements).toBeGreaterThan(0);
    });
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("set local kojin.notify = 'off'");
    // As old as what a notification would have told of long ago.
    await client.query(
      `insert into "${database.schema}".kojin_results (task_id, result, stored_at) values ('unannounced', '1', clock_timestamp() - interval '5 seconds')`,
    );
    await client.query("commit");
    client.release();
    await waited;
    expect(await sdk.metric("kojin.client.sweep.caught", here)).toBe(1);
    expect(await sdk.metric("kojin.client.wakes", { ...here, "kojin.wake.cause": "sweep" })).toBe(1);
  });

  it("have a description and a unit each", async () => {
    const backend = await database.open({ telemetry: true });
    await backend.store("described", 1);
    const waited = backend.wait("woken", 20_000);
    await backend.store("woken", 1);
    await waited;
    const units = (await sdk.metrics()).map(({ descriptor }) => [descriptor.name, descriptor.unit]);
    expect(Object.fromEntries(units)).toEqual({
      "kojin.client.batch.size": "{row}",
      "kojin.client.listener.reconnects": "{reconnect}",
      "kojin.client.sweep.caught": "{result}",
      "kojin.client.wait.count": "{wait}",
      "kojin.client.wake.duration": "s",
      "kojin.client.wakes": "{wake}",
      "messaging.client.operation.duration": "s",
      "messaging.client.sent.messages": "{message}",
    });
    for (const { descriptor } of await sdk.metrics()) expect(descriptor.description).toMatch(/^[A-Z].*\.$/);
  });
});
