import { getEventListeners } from "node:events";
import { firstValueFrom } from "rxjs";
import {
  BackendClosedError,
  DatabaseError,
  PostgresResultBackend,
  TaskFailedError,
  WaitTimeoutError,
} from "kojin-postgres";
import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("wait", () => {
  const database = specDatabase('wait "quoted"');
  let storing: PostgresResultBackend;
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    storing = await database.open();
    waiting = await database.open();
  });

  it("resolves at once with a result that was stored before", async () => {
    await storing.store("before", { size: 1 });
    expect(await waiting.wait("before", 20_000)).toEqual({ size: 1 });
    expect(waiting.stats().wokenBy).toMatchObject({ read: 1, notification: 0 });
  });

  it("is woken by the notification of a result that is stored later", async () => {
    await waiting.ready();
    const waits = waiting.wait("after", 20_000);
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    await storing.store("after", [1, "two"]);
    expect(await waits).toEqual([1, "two"]);
    expect(waiting.stats().wokenBy).toMatchObject({ read: 0, notification: 1, sweep: 0 });
  });

  it("misses nothing that is stored while the wait begins", async () => {
    for (let round = 0; round < 200; round += 1) {
      const taskId = `during ${round}`;
      const stored = storing.store(taskId, round);
      expect(await waiting.wait(taskId, 20_000)).toBe(round);
      await stored;
    }
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });

  it("resolves before LISTEN is confirmed if the result is there", async () => {
    await storing.store("cold", true);
    const fresh = await database.open();
    expect(await fresh.wait("cold", 20_000)).toBe(true);
  });

  it("wakes every waiter of the same task, each with a copy of its own", async () => {
    await waiting.ready();
    const waits = Array.from({ length: 5 }, async () => waiting.wait<number[]>("shared", 20_000));
    await eventually(() => expect(waiting.stats().waiting).toBe(1));
    await storing.store("shared", [1]);
    const results = await Promise.all(waits);
    results[0]?.push(2);
    expect(results.slice(1)).toEqual([[1], [1], [1], [1]]);
  });

  it.each([null, false, 0, "", [], {}, "text", 1.5, { nested: [null] }].map((value) => [value]))(
    "brings back %j as it was stored",
    async (value) => {
      await storing.store("value", value);
      expect(await waiting.wait("value", 20_000)).toEqual(value);
      expect(await waiting.get("value")).toEqual(value);
      expect(await waiting.getSettled("value")).toEqual({ status: "fulfilled", value });
    },
  );

  it("brings back undefined as null, and gives undefined where there is nothing", async () => {
    await storing.store("undefined", undefined);
    expect(await waiting.wait("undefined", 20_000)).toBeNull();
    expect(await waiting.get("nothing")).toBeUndefined();
    expect(await waiting.getSettled("nothing")).toBeUndefined();
  });

  it("brings back a result of 2 MB", async () => {
    const large = { text: "é".repeat(1_000_000) };
    await waiting.ready();
    const waits = waiting.wait("large", 20_000);
    await storing.store("large", large);
    expect(await waits).toEqual(large);
  });

  it.each(
    [
      "it's",
      'say "hi"',
      "a,b",
      "{a}",
      "line\nbreak",
      "tab\tback\\slash",
      "漢字かな",
      "\u0001",
      "🙂".repeat(128),
      "x".repeat(512),
    ].map((id) => [id.slice(0, 20), id]),
  )("takes the id %j", async (_start, taskId = "") => {
    await waiting.ready();
    const waits = waiting.wait(taskId, 20_000);
    await eventually(() => {
      expect(waiting.stats().reads.statements).toBeGreaterThan(0);
      expect(waiting.stats().reads.inFlight).toBe(0);
    });
    await storing.store(taskId, taskId);
    expect(await waits).toBe(taskId);
    expect(waiting.stats().caughtBySweep).toBe(0);
  });

  it("rejects with what a failed task left behind", async () => {
    const cause = new RangeError("page 9");
    const error = Object.assign(new TypeError("no such file", { cause }), { code: "ENOENT", details: { path: "/a" } });
    await storing.fail("failed", error);
    const rejection: unknown = await waiting.wait("failed", 20_000).catch((reason: unknown) => reason);
    expect(rejection).toBeInstanceOf(TaskFailedError);
    expect(rejection).toMatchObject({
      name: "TaskFailedError",
      code: "TASK_FAILED",
      taskId: "failed",
      failure: {
        name: "TypeError",
        message: "no such file",
        code: "ENOENT",
        details: { path: "/a" },
        cause: { name: "RangeError", message: "page 9" },
      },
      cause: { name: "TypeError", message: "no such file", code: "ENOENT" },
    });
    expect((rejection as Error).message).toBe("Task failed failed: TypeError: no such file");
    expect(await waiting.waitSettled("failed", 20_000)).toMatchObject({
      status: "rejected",
      reason: { taskId: "failed" },
    });
    await expect(waiting.get("failed")).rejects.toBeInstanceOf(TaskFailedError);
    expect(await waiting.getSettled("failed")).toMatchObject({ status: "rejected" });
  });

  it("rejects after the timeout, with the task and the time in the error", async () => {
    const startedAt = performance.now();
    const rejection: unknown = await waiting.wait("never", 150).catch((reason: unknown) => reason);
    expect(rejection).toBeInstanceOf(WaitTimeoutError);
    expect(rejection).toMatchObject({
      name: "WaitTimeoutError",
      code: "WAIT_TIMEOUT",
      taskId: "never",
      timeoutMs: 150,
    });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(149);
    await expect(waiting.waitSettled("never", 1)).rejects.toBeInstanceOf(WaitTimeoutError);
  });

  it("reads once, and opens no listener, for a timeout of 0", async () => {
    await expect(waiting.wait("zero", 0)).rejects.toMatchObject({ timeoutMs: 0 });
    await storing.store("zero", 1);
    expect(await waiting.wait("zero", 0)).toBe(1);
    expect(waiting.stats()).toMatchObject({ status: "idle", reads: { statements: 2 } });
  });

  it("finds at the deadline what no notification told of", async () => {
    await waiting.ready();
    const waits = waiting.wait("silent", 3_000);
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    const table = `${escapeIdentifier(database.schema)}.kojin_results`;
    await database.sql(
      `with off as materialized (select set_config('kojin.notify', 'off', true)) insert into ${table} (task_id, result) select 'silent', '7' from off`,
    );
    expect(await waits).toBe(7);
    expect(waiting.stats().wokenBy).toMatchObject({ deadline: 1, notification: 0 });
  });

  it("finds by sweeping what no notification told of, and counts it", async () => {
    const sweeping = await database.open({ sweepIntervalMs: 4_000 });
    await sweeping.ready();
    const waits = sweeping.wait("swept", 20_000);
    await eventually(() => expect(sweeping.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    const table = `${escapeIdentifier(database.schema)}.kojin_results`;
    await database.sql(
      `with off as materialized (select set_config('kojin.notify', 'off', true)) insert into ${table} (task_id, result) select 'swept', '8' from off`,
    );
    expect(await waits).toBe(8);
    expect(sweeping.stats()).toMatchObject({ wokenBy: { sweep: 1, notification: 0 }, caughtBySweep: 1 });
  });

  it("rejects with the reason of its signal, and lets go of it", async () => {
    const controller = new AbortController();
    const waits = [1, 2, 3].map(async () => waiting.wait("aborted", { timeoutMs: 20_000, signal: controller.signal }));
    await eventually(() => expect(waiting.stats().waiting).toBe(1));
    controller.abort(new Error("the client went away"));
    for (const each of waits) await expect(each).rejects.toThrow("the client went away");
    expect(waiting.stats().waiting).toBe(0);
    await expect(waiting.wait("aborted", { timeoutMs: 20_000, signal: controller.signal })).rejects.toThrow(
      "the client went away",
    );
  });

  it("puts one listener on a signal, however many waits it governs, and takes it away with the last", async () => {
    const { signal } = new AbortController();
    const waits = Array.from({ length: 50 }, async (_, index) =>
      waiting.wait(`signal ${index}`, { timeoutMs: 20_000, signal }),
    );
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    for (let index = 0; index < 50; index += 1) await storing.store(`signal ${index}`, index);
    expect(await Promise.all(waits)).toHaveLength(50);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("treats an expired result as absent", async () => {
    await storing.store("expired", 1, { ttlMs: 1 });
    await eventually(async () => expect(await waiting.get("expired")).toBeUndefined());
    await expect(waiting.wait("expired", 50)).rejects.toBeInstanceOf(WaitTimeoutError);
    await storing.store("expired", 2, { onConflict: "keep" });
    expect(await waiting.get("expired")).toBe(2);
  });

  it("rejects at once where reading is not allowed", async () => {
    const role = `spec_no_grants_${process.pid}`;
    await database.sql(`create role ${role} login password 'x'`);
    try {
      const url = new URL(database.url);
      [url.username, url.password] = [role, "x"];
      const stranger = await PostgresResultBackend.connect(url.href, { schema: database.schema });
      const rejection: unknown = await stranger.wait("secret", 20_000).catch((reason: unknown) => reason);
      expect(rejection).toBeInstanceOf(DatabaseError);
      expect(rejection).toMatchObject({ sqlState: "42501", transient: false });
      await expect(firstValueFrom(stranger.result$("secret"))).rejects.toMatchObject({ sqlState: "42501" });
      await stranger.close();
    } finally {
      await database.sql(`drop role ${role}`);
    }
  });

  it("rejects open waits when the backend closes, and later ones at once", async () => {
    await waiting.ready();
    const waits = Array.from({ length: 1_000 }, async (_, index) => waiting.wait(`closed ${index}`, Infinity));
    const settled = Promise.allSettled(waits);
    await eventually(() => expect(waiting.stats().waiting).toBe(1_000));
    await waiting.close();
    for (const each of await settled)
      expect(each).toMatchObject({ status: "rejected", reason: { code: "BACKEND_CLOSED" } });
    await expect(waiting.wait("closed", 1_000)).rejects.toBeInstanceOf(BackendClosedError);
  });

  it("keeps 10 000 waits open with one listening connection and no query between sweeps", async () => {
    const count = 10_000;
    await waiting.ready();
    const waits = Array.from({ length: count }, async (_, index) => waiting.wait<number>(`many ${index}`, 60_000));
    await eventually(() =>
      expect(waiting.stats()).toMatchObject({ waiting: count, reads: { statements: count / 1_000, inFlight: 0 } }),
    );
    // A read of its own, behind which all those of the waits have been sent.
    await waiting.get("another");
    const { queries, sweeps } = waiting.stats();
    expect(await database.listeners()).toHaveLength(1);
    // A full round trip for another task: had the others caused queries, they would have been counted by then.
    for (let round = 0; round < 20; round += 1) {
      await storing.store(`other ${round}`, round);
      await storing.get(`other ${round}`);
    }
    expect(waiting.stats()).toMatchObject({ queries, sweeps });
    await Promise.all(waits.map(async (_, index) => storing.store(`many ${index}`, index)));
    expect(await Promise.all(waits)).toEqual(Array.from({ length: count }, (_, index) => index));
    expect(waiting.stats().wokenBy).toMatchObject({ notification: count, sweep: 0 });
  });

  it("opens no listener in a backend that only stores and reads", async () => {
    await storing.store("plain", 1);
    await storing.get("plain");
    expect(storing.stats().status).toBe("idle");
    expect(await database.listeners()).toEqual([]);
  });

  it("shares one listening connection among all backends of the process", async () => {
    const other = `${database.schema} other`;
    database.createSchema(other);
    const elsewhere = await database.open({ schema: other });
    await elsewhere.migrate();
    const backends = [
      waiting,
      storing,
      elsewhere,
      ...(await Promise.all(Array.from({ length: 10 }, async () => database.open()))),
    ];
    await Promise.all(backends.map(async (backend) => backend.ready()));
    expect(await database.listeners()).toHaveLength(1);
    const waits = elsewhere.wait("only here", 20_000);
    const crossTalk = waiting.wait("only here", 300).catch((reason: unknown) => reason);
    await elsewhere.store("only here", "yes");
    expect(await waits).toBe("yes");
    expect(await crossTalk).toBeInstanceOf(WaitTimeoutError);
    expect(waiting.stats().notifications.relevant).toBe(0);
  });
});
