import { firstValueFrom, timeout } from "rxjs";
import { z } from "zod";
import { BackendClosedError, ResultEncodingError, WaitTimeoutError, type SqlClient } from "kojin-postgres";
import { MemoryResultBackend } from "../lib/memory-backend";

/** The conformance specs cover what all backends share. These are about the memory backend alone. */
describe("MemoryResultBackend", () => {
  let backend: MemoryResultBackend;

  beforeEach(() => {
    backend = new MemoryResultBackend();
  });

  afterEach(async () => {
    jest.useRealTimers();
    await backend.close();
    expect(backend.stats()).toEqual({ waiting: 0 });
  });

  describe("a view", () => {
    it("sees what the other stores, and is woken by it", async () => {
      const view = backend.view();
      const waits = [view.wait("task", 5_000), view.waitGroup("group", 5_000)];
      await backend.store("task", 1);
      await backend.initGroup("group", ["a"]);
      await backend.completeGroupMember("group", "a", 2);
      expect(await Promise.all(waits)).toEqual([1, [2]]);
      await view.close();
    });

    it("stays open when the other is closed, and keeps what that stored", async () => {
      const view = backend.view();
      const waits = view.wait("later", 5_000);
      await backend.store("task", 1);
      await backend.close();
      expect(await view.get("task")).toBe(1);
      await view.store("later", 2);
      expect(await waits).toBe(2);
      await expect(backend.get("task")).rejects.toBeInstanceOf(BackendClosedError);
      await view.close();
    });

    it("has the options of the other, but for those that it is given", async () => {
      const limited = new MemoryResultBackend({ ttlMs: 20_000, maxResultBytes: 3 });
      const view = limited.view({ ttlMs: 10_000 });
      jest.useFakeTimers();
      await limited.store("long", 1);
      await view.store("short", 1);
      await expect(view.store("large", 1_000)).rejects.toBeInstanceOf(ResultEncodingError);
      jest.advanceTimersByTime(15_000);
      expect([await limited.get("long"), await limited.get("short")]).toEqual([1, undefined]);
      await Promise.all([limited.close(), view.close()]);
    });

    it("shares nothing with a backend that was made apart", async () => {
      const other = new MemoryResultBackend();
      await backend.store("task", 1);
      await backend.initGroup("group", 0);
      expect(await other.get("task")).toBeUndefined();
      expect(await other.getGroup("group")).toBeUndefined();
      await other.close();
    });
  });

  it.each([
    [{ ttlMs: 0 }, RangeError],
    [{ ttlMs: "1" as unknown as number }, TypeError],
    [{ maxResultBytes: 0 }, RangeError],
    [{ maxResultBytes: 1.5 }, RangeError],
    [{ ttlMs: 1, ttl: 1 }, TypeError],
  ])("refuses the options %j", (options, type) => {
    expect(() => new MemoryResultBackend(options)).toThrow(type);
    expect(() => backend.view(options)).toThrow(type);
  });

  it("measures a result in bytes of JSON, and a member's too", async () => {
    const small = new MemoryResultBackend({ maxResultBytes: 6 });
    await small.store("task", "éé");
    await expect(small.store("task", "éé!")).rejects.toBeInstanceOf(ResultEncodingError);
    await expect(small.completeGroupMember("group", "task", "éé!")).rejects.toBeInstanceOf(ResultEncodingError);
    expect(await small.get("task")).toBe("éé");
    await small.close();
  });

  it("refuses a client, since it has no transaction to take part in, and changes nothing", async () => {
    const client: SqlClient = { query: async () => Promise.resolve({ rows: [], rowCount: 0 }) };
    await backend.initGroup("done", 0);
    await backend.store("stored", 1);
    const calls = [
      backend.store("task", 1, { client }),
      backend.fail("task", 1, { client }),
      backend.delete("stored", { client }),
      backend.initGroup("group", 1, { client }),
      backend.completeGroupMember("group", "task", 1, { client }),
      backend.failGroupMember("group", "task", 1, { client }),
      backend.claimGroup("done", { client }),
    ];
    for (const call of calls) await expect(call).rejects.toThrow(/^client: expected none/);
    for (const call of calls) await expect(call).rejects.toBeInstanceOf(TypeError);
    expect(await backend.getSettled("task")).toBeUndefined();
    expect(await backend.get("stored")).toBe(1);
    expect(await backend.getGroup("group")).toBeUndefined();
    expect(await backend.unclaimedGroups()).toHaveLength(1);
  });

  it("calls no subscriber back before the causing call has returned", async () => {
    const seen: string[] = [];
    const subscription = backend.results$().subscribe(({ taskId }) => {
      seen.push(`one ${taskId}`);
      if (taskId === "first") void backend.store("second", 2);
    });
    subscription.add(backend.results$().subscribe(({ taskId }) => seen.push(`other ${taskId}`)));
    const stored = backend.store("first", 1);
    expect(seen).toEqual([]);
    await stored;
    await backend.wait("second", 0);
    expect(seen).toEqual(["one first", "other first", "one second", "other second"]);
    subscription.unsubscribe();
  });

  it("shows every change of a group that others had the time to see", async () => {
    const seen: string[] = [];
    const subscription = backend.group$("group").subscribe({
      next: ({ total, completed, failed, done }) => seen.push([total, completed, failed, done].join(" ")),
      complete: () => seen.push("completed"),
    });
    await backend.completeGroupMember("group", "a", 1);
    await backend.completeGroupMember("group", "a", 2);
    await backend.failGroupMember("group", "b", 1);
    await backend.initGroup("group", 3);
    await backend.initGroup("group", 3);
    await backend.completeGroupMember("group", "b", 1);
    await backend.completeGroupMember("group", "c", 1);
    expect(seen).toEqual([" 1 0 false", " 1 1 false", "3 1 1 false", "3 2 0 false", "3 3 0 true", "completed"]);
    subscription.unsubscribe();
  });

  describe("with fake timers", () => {
    beforeEach(() => {
      jest.useFakeTimers();
    });

    it("stores, reads and wakes as ever", async () => {
      const waits = backend.wait("task", 1_000);
      await backend.store("task", 1);
      expect(await waits).toBe(1);
      expect(await backend.wait("task", 0)).toBe(1);
      await expect(backend.wait("nothing", 0)).rejects.toBeInstanceOf(WaitTimeoutError);
      expect(await firstValueFrom(backend.result$("task"))).toBe(1);
    });

    it("ends waits as the clock is advanced, by a month too", async () => {
      const monthMs = 30 * 86_400_000;
      const waits = [1_000, monthMs].map(async (limitMs) =>
        backend.wait("task", limitMs).catch((error: unknown) => error),
      );
      await jest.advanceTimersByTimeAsync(999);
      expect(jest.getTimerCount()).toBe(1);
      await jest.advanceTimersByTimeAsync(1);
      expect(await waits[0]).toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: 1_000 });
      await jest.advanceTimersByTimeAsync(monthMs);
      expect(await waits[1]).toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: monthMs });
      expect(jest.getTimerCount()).toBe(0);
    });

    it("lets results, groups, deadlines and leases expire to the millisecond, without a timer for any", async () => {
      await backend.store("task", 1, { ttlMs: 1_000 });
      await backend.initGroup("done", 0, { ttlMs: 1_000 });
      await backend.initGroup("open", 1, { deadlineMs: 1_000 });
      await backend.initGroup("leased", 0);
      await backend.claimGroup("leased", { leaseMs: 1_000 });
      expect(jest.getTimerCount()).toBe(0);
      const look = async (): Promise<unknown[]> => [
        await backend.get("task"),
        (await backend.getGroup("done"))?.done,
        (await backend.getGroup("open"))?.done,
        (await backend.unclaimedGroups()).map(({ groupId }) => groupId),
      ];
      jest.advanceTimersByTime(999);
      expect(await look()).toEqual([1, true, false, ["done"]]);
      jest.advanceTimersByTime(1);
      expect(await look()).toEqual([undefined, undefined, undefined, ["leased"]]);
    });

    it("tells the deadline of a group, and how far it was, in the error", async () => {
      await backend.initGroup("group", 2, { deadlineMs: 1_000 });
      await backend.completeGroupMember("group", "a", 1);
      const waits = backend.waitGroup("group", 5_000).catch((error: unknown) => error);
      await jest.advanceTimersByTimeAsync(1_000);
      expect(await waits).toMatchObject({
        groupId: "group",
        timeoutMs: 1_000,
        message: "Group group was not done within 1000 ms: 1 of 2 members have finished.",
      });
      expect(jest.getTimerCount()).toBe(0);
    });

    it("does not show a waiter another group that takes the place of one whose deadline is over", async () => {
      await backend.initGroup("group", 1, { deadlineMs: 1_000 });
      const waits = backend.waitGroup("group", Infinity).catch((error: unknown) => error);
      await jest.advanceTimersByTimeAsync(0);
      // The clock moves before a timer has run, as when other work has blocked the process.
      jest.setSystemTime(Date.now() + 1_001);
      await backend.initGroup("group", 0);
      expect(await waits).toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: 1_000 });
      expect(await backend.waitGroup("group", 0)).toEqual([]);
    });

    it("leaves no timer behind when a schema has answered, or its time is up", async () => {
      await backend.store("task", 1);
      expect(await backend.wait("task", { timeoutMs: 1_000, schema: z.number() })).toBe(1);
      expect(jest.getTimerCount()).toBe(0);
      const schema = z.number().refine(async () => new Promise<boolean>(() => undefined));
      const waits = backend.wait("task", { timeoutMs: 5_000, schema }).catch((error: unknown) => error);
      await jest.advanceTimersByTimeAsync(5_000);
      expect(await waits).toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: 5_000 });
      expect(jest.getTimerCount()).toBe(0);
    });

    it("leaves no timer after the last wait, whatever ended it", async () => {
      const controller = new AbortController();
      await backend.initGroup("group", 1, { deadlineMs: 60_000 });
      const ended = Promise.allSettled([
        backend.wait("stored", 60_000),
        backend.wait("aborted", { timeoutMs: 60_000, signal: controller.signal }),
        backend.waitGroup("group", Infinity),
        firstValueFrom(backend.group$("late").pipe(timeout(1_000))),
      ]);
      const subscription = backend.groupMembers$("group").subscribe();
      await backend.store("stored", 1);
      controller.abort();
      await jest.advanceTimersByTimeAsync(1_000);
      subscription.unsubscribe();
      expect(jest.getTimerCount()).toBe(1);
      await backend.close();
      await ended;
      expect(jest.getTimerCount()).toBe(0);
    });
  });

  it("lets the waits of a backend that drains go on for as long as it was given", async () => {
    jest.useFakeTimers();
    const waits = backend.wait("task", Infinity).catch((error: unknown) => error);
    const closing = backend.close({ drainMs: 1_000 });
    await jest.advanceTimersByTimeAsync(999);
    expect(backend.stats().waiting).toBe(1);
    await jest.advanceTimersByTimeAsync(1);
    await closing;
    expect(await waits).toBeInstanceOf(BackendClosedError);
    expect(jest.getTimerCount()).toBe(0);
  });

  it("closes at the end of a block", async () => {
    const view = await (async () => {
      await using inner = backend.view();
      await inner.store("task", 1);
      return inner;
    })();
    await expect(view.get("task")).rejects.toBeInstanceOf(BackendClosedError);
    expect(await backend.get("task")).toBe(1);
  });

  it("counts 20 000 members of a group without slowing down", async () => {
    const ids = Array.from({ length: 20_000 }, (_, index) => `m${index}`);
    await backend.initGroup("group", ids);
    let emitted = 0;
    const subscription = backend.groupMembers$("group").subscribe(() => (emitted += 1));
    // A cost that grew with the size would take minutes, and exceed the time limit of the spec.
    for (const [index, taskId] of ids.entries()) await backend.completeGroupMember("group", taskId, index);
    expect(await backend.waitGroup("group", 0)).toHaveLength(20_000);
    expect(emitted).toBe(20_000);
    subscription.unsubscribe();
  });
});
