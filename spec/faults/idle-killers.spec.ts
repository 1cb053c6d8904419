import { filter } from "rxjs";
import { eventually } from "../support/eventually";
import { PgBouncer } from "../support/pgbouncer";
import { describeWithPgBouncer } from "../support/where";
import { faultSuite } from "./support/fault-suite";

describe("a server that ends sessions which are idle for a second", () => {
  const suite = faultSuite({ idle_session_timeout: "1s" });

  it("leaves our listener alone, which asks to be spared, and costs the pool only its connections", async () => {
    const [waiting, storing] = [await suite.open(), await suite.open()];
    const held = waiting.wait("held", 60_000);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    const listenerPid = async (): Promise<number | undefined> =>
      (await suite.server.clients()).find(({ application_name }) => application_name.endsWith(" listener"))?.pid;
    const pid = await listenerPid();
    // The connections of both pools end, twice.
    for (let round = 0; round < 2; round += 1) {
      await storing.store(`round ${round}`, round);
      await eventually(async () =>
        expect((await suite.server.clients()).map(({ application_name }) => application_name)).toEqual([
          "kojin-postgres listener",
        ]),
      );
    }
    expect(await listenerPid()).toBe(pid);
    await storing.store("held", 1);
    expect(await held).toBe(1);
    expect(waiting.stats()).toMatchObject({ reconnects: 0, wokenBy: { notification: 1 } });
    expect(storing.stats().stores.retries).toBeLessThanOrEqual(1);
    await Promise.all([waiting.close(), storing.close()]);
  });

  describeWithPgBouncer()("behind a pooler that takes no startup options", () => {
    it("ends our listener again and again, and no wait is lost", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "session", 10);
      const [waiting, storing] = [await suite.open({}, pooler.url), await suite.open()];
      let losses = 0;
      waiting.status$.pipe(filter((status) => status === "connecting")).subscribe(() => (losses += 1));
      for (let round = 0; losses < 4; round += 1) {
        const waits = waiting.wait(`cut ${round}`, 30_000);
        const before = losses;
        await eventually(() => expect(losses).toBeGreaterThan(before), { timeoutMs: 15_000 });
        await storing.store(`cut ${round}`, round);
        expect(await waits).toBe(round);
      }
      expect(waiting.stats().reconnects).toBeGreaterThanOrEqual(2);
      await Promise.all([waiting.close(), storing.close()]);
      await pooler.stop();
    });
  });
});
