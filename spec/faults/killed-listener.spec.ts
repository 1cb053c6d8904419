import { interval } from "rxjs";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("a listener that is killed every 50 ms", () => {
  const database = specDatabase("killed listener");

  it("delays 10 000 waits, and loses none", async () => {
    const [waiting, storing] = [await database.open(), await database.open()];
    await waiting.ready();
    let kills = 0;
    const killing = interval(50).subscribe(() => {
      void database.terminateListeners().then(
        () => (kills += 1),
        () => undefined,
      );
    });
    const seen: string[] = [];
    const subscription = waiting.results$().subscribe(({ taskId }) => seen.push(taskId));
    const waits = Array.from({ length: 10_000 }, async (_, index) => waiting.wait<number>(`load ${index}`, 60_000));
    for (let start = 0; start < 10_000; start += 400) {
      // One batch of stores per kill.
      const { reconnects } = waiting.stats();
      await Promise.all(
        Array.from({ length: 400 }, async (_, index) => storing.store(`load ${start + index}`, start + index)),
      );
      await eventually(() => expect(waiting.stats().reconnects).toBeGreaterThan(reconnects), { timeoutMs: 30_000 });
    }
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 10_000 }, (_, index) => index));
    killing.unsubscribe();
    await eventually(() => expect(seen).toHaveLength(10_000), { timeoutMs: 30_000 });
    expect(new Set(seen).size).toBe(10_000);
    subscription.unsubscribe();
    expect(kills).toBeGreaterThan(20);
    expect(waiting.stats()).toMatchObject({ waiting: 0, feeds: 0 });
  });
});
