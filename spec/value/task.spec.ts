import { firstValueFrom, from, lastValueFrom, toArray } from "rxjs";
import { z } from "zod";
import { defineTask, MemoryResultBackend, ResultValidationError } from "kojin-postgres";
import { respond } from "kojin-postgres/http";
import { settleResults } from "kojin-postgres/operators";

describe("defineTask", () => {
  it("makes ids of a name and a key, and random ones", () => {
    const resize = defineTask<number>("resize");
    expect(resize.name).toBe("resize");
    expect(resize.id("a:b")).toBe("resize:a:b");
    expect(resize.id()).toMatch(/^resize:[0-9a-f-]{36}$/);
    expect(resize.id()).not.toBe(resize.id());
  });

  it("knows the ids of its kind", () => {
    const resize = defineTask<number>("resize");
    const ids = [resize.id("1"), "resize", "resized:1", defineTask("resize-all").id("1"), " resize:1"];
    expect(ids.map(resize.is)).toEqual([true, false, false, false, false]);
  });

  it.each([
    ["name: expected text without a colon", ""],
    ["name: expected text without a colon", "a:b"],
    ["name: expected a string, got number", 7 as unknown as string],
    ["name: expected a string, got undefined", undefined as unknown as string],
  ])("refuses a name at once: %s", (message, name) => {
    expect(() => defineTask(name)).toThrow(message);
  });

  it("refuses a key that makes no id", () => {
    expect(() => defineTask("resize").id("x".repeat(512))).toThrow("taskId: expected at most 512 bytes");
    expect(() => defineTask("resize").id("\0")).toThrow(RangeError);
  });

  describe("with a schema", () => {
    const report = defineTask("report", { schema: z.object({ at: z.string().transform((text) => new Date(text)) }) });
    const [at, stored] = [new Date("2026-07-01"), { at: "2026-07-01" }];
    let backend: MemoryResultBackend;

    beforeEach(async () => {
      backend = new MemoryResultBackend();
      await backend.store(report.id("good"), stored);
      await backend.store("report:bad", { at: 7 });
      await backend.store("reports:bad", { at: 7 });
      await backend.store("report", { at: 7 });
    });
    afterEach(async () => backend.close());

    it("validates every read of its tasks, and no other", async () => {
      for (const read of [
        async (id: string) => backend.get(id),
        async (id: string) => backend.wait(id, 20_000),
        async (id: string) => firstValueFrom(backend.result$(id)),
      ]) {
        expect(await read("report:good")).toEqual({ at });
        await expect(read("report:bad")).rejects.toMatchObject({ name: "ResultValidationError", taskId: "report:bad" });
        for (const other of ["reports:bad", "report"]) expect(await read(other)).toEqual({ at: 7 });
      }
      for (const settle of [
        async (id: string) => backend.getSettled(id),
        async (id: string) => backend.waitSettled(id, 20_000),
      ]) {
        expect(await settle("report:good")).toEqual({ status: "fulfilled", value: { at } });
        await expect(settle("report:bad")).rejects.toBeInstanceOf(ResultValidationError);
      }
    });

    it("validates members of groups, and outcomes of streams, each by its own id", async () => {
      const outcomes: unknown[] = [];
      backend.results$().subscribe({ next: (outcome) => outcomes.push(outcome), error: () => undefined });
      await backend.store("report:new", { at: "2026-07-01" });
      await backend.store("report:new and bad", null);
      await backend.store("other", null);
      await backend.initGroup("mixed", [report.id("good"), "other"]);
      await backend.completeGroupMember("mixed", report.id("good"), stored);
      await backend.completeGroupMember("mixed", "other", { at: 7 });
      const values = [{ at }, { at: 7 }];
      expect(await backend.waitGroup("mixed", 20_000)).toEqual(values);
      expect(await backend.getGroupResults("mixed")).toEqual(values);
      expect(await firstValueFrom(backend.groupResults$("mixed"))).toEqual(values);
      expect(await lastValueFrom(backend.groupMembers$("mixed").pipe(toArray()))).toMatchObject([
        { taskId: "report:good", value: { at } },
        { taskId: "other", value: { at: 7 } },
      ]);
      await backend.completeGroupMember("invalid", "report:bad", { at: 7 });
      await expect(backend.getGroupResults("invalid")).rejects.toBeInstanceOf(ResultValidationError);
      expect(outcomes).toMatchObject([
        { taskId: "report:new", value: { at } },
        { taskId: "report:new and bad", status: "rejected", reason: { name: "ResultValidationError" } },
        { taskId: "other", value: null },
      ]);
    });

    it("leaves a read that has a schema of its own to that", async () => {
      expect(await backend.get<unknown>("report:bad", { schema: z.unknown() })).toEqual({ at: 7 });
      const response = await respond(backend, "report:bad", { waitMs: 0 });
      expect(await response.json()).toEqual({ at: 7 });
    });

    it("validates what operators await", async () => {
      const ids = [report.id("good"), report.id("absent")];
      const settled = await lastValueFrom(from(ids).pipe(settleResults(backend, { timeoutMs: 0 })));
      expect(settled).toMatchObject([{ value: { at } }, { reason: { code: "WAIT_TIMEOUT" } }]);
    });

    it("applies the latest schema of a name, and refuses what is none", async () => {
      defineTask("redefined", { schema: z.string() });
      const redefined = defineTask("redefined", { schema: z.number() });
      await backend.store(redefined.id("7"), 7);
      expect(await backend.get(redefined.id("7"))).toBe(7);
      expect(() => defineTask("task", { schema: {} as never })).toThrow("schema: expected a Standard Schema");
    });
  });

  it("picks its tasks out of a stream of all results", async () => {
    await using backend = new MemoryResultBackend();
    const resize = defineTask<number>("resize");
    const sizes: number[] = [];
    backend.results$({ where: resize.is }).subscribe({
      next: (outcome) => {
        if (outcome.status === "fulfilled") sizes.push(outcome.value);
      },
      error: () => undefined,
    });
    await backend.store("other", "text");
    await backend.store(resize.id("1"), 7);
    await backend.wait(resize.id("1"), 0);
    expect(sizes).toEqual([7]);
  });
});
