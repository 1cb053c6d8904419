import type { PostgresResultBackend } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";

describe("many calls for one row", () => {
  const database = specDatabase("many_calls");

  it.each<[string, (backend: PostgresResultBackend, value: number) => Promise<unknown>]>([
    ["stores of one id", async (backend, value) => backend.store("task", value)],
    ["completions of one member", async (backend, value) => backend.completeGroupMember("group", "member", value)],
  ])("take linear time: %s", async (_name, write) => {
    const backend = await database.open({ retryTimeoutMs: 120_000 });
    await write(backend, 0);
    const timeOf = async (calls: number): Promise<number> => {
      const startedAt = performance.now();
      await Promise.all(Array.from({ length: calls }, async (_, index) => write(backend, index)));
      return performance.now() - startedAt;
    };
    await timeOf(2_000);
    const few = Math.max(await timeOf(2_000), await timeOf(2_000));
    // Ten times as many; a quadratic merge takes a hundred times as long. The rest is for a machine that is busy.
    expect(await timeOf(20_000)).toBeLessThan(40 * few + 2_000);
  });
});
