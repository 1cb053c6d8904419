import { defineTask, MemoryResultBackend } from "kojin-postgres";

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
