import { once } from "node:events";
import { PostgresResultBackend } from "kojin-postgres";
import { Client, Pool } from "pg";
import { eventually } from "../support/eventually";
import { PgBouncer } from "../support/pgbouncer";
import { describeWithPgBouncer } from "../support/where";
import { faultSuite } from "./support/fault-suite";

describeWithPgBouncer()("through PgBouncer", () => {
  const suite = faultSuite();

  describe("in transaction mode", () => {
    it("LISTEN is found to be deaf, which is said once, and waits still resolve", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "transaction");
      const [backend, storing] = [await suite.open({}, pooler.url), await suite.open()];
      const waits = Array.from({ length: 100 }, async (_, index) => backend.wait(`deaf ${index}`, 30_000));
      const group = backend.waitGroup("deaf group", 30_000);
      await backend.ready();
      expect(backend.stats().status).toBe("polling");
      expect((await backend.health()).problems).toEqual([expect.stringContaining("transaction pooler")]);
      await Promise.all(Array.from({ length: 100 }, async (_, index) => storing.store(`deaf ${index}`, index)));
      await storing.initGroup("deaf group", 1);
      await storing.completeGroupMember("deaf group", "a", 1);
      expect(await Promise.all(waits)).toHaveLength(100);
      expect(await group).toEqual([1]);
      expect(suite.messages.filter((message) => message.includes("transaction pooler"))).toHaveLength(1);
      await Promise.all([backend.close(), storing.close()]);
      await pooler.stop();
    });

    it("all is heard with a direct address for LISTEN, over two connections for ten backends", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "transaction", 2);
      const options = { listen: { connection: suite.server.url } };
      const backends = await Promise.all(Array.from({ length: 10 }, async () => suite.open(options, pooler.url)));
      const [first] = backends;
      await Promise.all(backends.map(async (backend) => backend.ready()));
      const waits = backends.map(async (backend, index) => backend.wait(`pooled ${index}`, 30_000));
      await eventually(() => backends.forEach((backend) => expect(backend.stats().reads.inFlight).toBe(0)));
      await Promise.all(backends.map(async (backend, index) => backend.store(`pooled ${9 - index}`, 9 - index)));
      expect(await Promise.all(waits)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(await first?.health()).toMatchObject({ ok: true, status: "listening" });
      // Two for the pooler, once those of the last one are gone, and one listener for all ten.
      await eventually(async () => expect((await suite.server.clients()).length).toBeLessThanOrEqual(3));
      await Promise.all(backends.map(async (backend) => backend.close()));
      await pooler.stop();
    });

    it("a setting that one statement makes for itself does not reach the next one's client", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "transaction", 1);
      const options = { listen: { connection: suite.server.url } };
      const [deferred, plain] = [
        await suite.open({ notify: "deferred", inlineResultBytes: 100, ...options }, pooler.url),
        await suite.open(options, pooler.url),
      ];
      const waiting = await suite.open();
      for (let round = 0; round < 20; round += 1) {
        const waits = [waiting.wait(`silent ${round}`, 20_000), waiting.wait(`loud ${round}`, 20_000)];
        await eventually(() => expect(waiting.stats().reads.inFlight).toBe(0));
        await deferred.store(`silent ${round}`, 1);
        await plain.store(`loud ${round}`, 1);
        await Promise.all(waits);
      }
      expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0, inline: 0 });
      await Promise.all([deferred.close(), plain.close()]);
      await pooler.stop();
    });

    it("statements are prepared until it shows that sessions are mixed up, and no call fails for it", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "transaction", 2);
      // These backends are not told that there is a pooler.
      const backends = await Promise.all(Array.from({ length: 6 }, async () => suite.open({}, pooler.url)));
      for (let round = 0; round < 10; round += 1) {
        await Promise.all(
          backends.flatMap((backend, index) => [
            backend.store(`mixed ${index} ${round}`, round),
            backend.completeGroupMember(`mixed ${index}`, `member ${round}`, round),
          ]),
        );
      }
      for (const [index, backend] of backends.entries()) {
        expect(await backend.get(`mixed ${index} 9`)).toBe(9);
        expect(await backend.getGroup(`mixed ${index}`)).toMatchObject({ completed: 10 });
        // Nothing was retried as if it had failed.
        expect(backend.stats()).toMatchObject({ stores: { retries: 0, rows: 10 }, groupWrites: { retries: 0 } });
      }
      await Promise.all(backends.map(async (backend) => backend.close()));
      await pooler.stop();
    });

    it("a migration waits until the pooler has a connection to the server for it, longer than for a dead one", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "transaction", 1);
      const [busy, pool] = [new Client(pooler.url), new Pool({ connectionString: pooler.url })];
      try {
        await busy.connect();
        await busy.query("begin");
        const migrated = new PostgresResultBackend(pool).migrate();
        // It has abandoned the first connection, on which `begin` went unanswered.
        await once(pool, "remove");
        await busy.query("commit");
        expect(await migrated).toMatchObject({ applied: [] });
      } finally {
        await Promise.all([busy.end(), pool.end()]);
        await pooler.stop();
      }
    });

    it("a pooler that is restarted costs nothing but time", async () => {
      let pooler = await PgBouncer.start(suite.server.url, "transaction");
      const address = new URL(pooler.url);
      const backend = await suite.open({ listen: { connection: suite.server.url } }, pooler.url);
      await backend.ready();
      const waits = backend.wait("restarted", 60_000);
      await pooler.stop();
      const stored = backend.store("restarted", 1);
      await eventually(() => expect(backend.stats().stores.retries).toBeGreaterThan(1));
      pooler = await PgBouncer.start(suite.server.url, "transaction", 2, Number(address.port));
      await stored;
      expect(await waits).toBe(1);
      await backend.close();
      await pooler.stop();
    });
  });

  describe("in session mode", () => {
    it("LISTEN is heard; startup options are refused, and done without", async () => {
      const pooler = await PgBouncer.start(suite.server.url, "session", 10);
      const [backend, storing] = [await suite.open({}, pooler.url), await suite.open()];
      await backend.ready();
      expect(backend.stats().status).toBe("listening");
      const waits = backend.wait("session", 30_000);
      await eventually(() => expect(backend.stats().reads.inFlight).toBe(0));
      await storing.store("session", 1);
      expect(await waits).toBe(1);
      expect(backend.stats().wokenBy).toMatchObject({ sweep: 0 });
      await backend.close();
      await pooler.stop();
    });
  });
});
