import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

// With commit_siblings at 0, each flush of the log first waits for commit_delay, as on a slow disk (PostgreSQL docs,
// "Write Ahead Log").
describe("while each commit takes 20 ms", () => {
  const suite = faultSuite({ fsync: "on", commit_delay: "20000", commit_siblings: "0" });

  it.each(["trigger", "deferred"] as const)(
    "a crowd of writers with notify: '%s' is slow, and nothing else",
    async (notify) => {
      const writers = await Promise.all(Array.from({ length: 8 }, async () => suite.open({ notify })));
      const waiting = await suite.open();
      await waiting.ready();
      const taskIds = writers.flatMap((_, writer) =>
        Array.from({ length: 20 }, (_each, index) => `${notify} ${writer} ${index}`),
      );
      const waits = taskIds.map(async (taskId) => waiting.wait(taskId, 60_000));
      await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
      await Promise.all(
        writers.map(async (backend, writer) => {
          // One after the other, so that each is a commit of its own.
          for (let index = 0; index < 20; index += 1) await backend.store(`${notify} ${writer} ${index}`, index);
        }),
      );
      await Promise.all(waits);
      for (const writer of writers)
        expect(writer.stats().stores).toMatchObject({ rows: 20, retries: 0, unnotified: 0 });
      expect(waiting.stats()).toMatchObject({ status: "listening", caughtBySweep: 0 });
      await Promise.all([...writers, waiting].map(async (backend) => backend.close()));
    },
  );
});
