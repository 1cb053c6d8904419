import type { CheckName, Diagnosis } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { PgBouncer } from "../support/pgbouncer";
import { describeSincePostgres, describeWithPgBouncer } from "../support/where";
import { faultSuite } from "./support/fault-suite";

const badIn = (found: readonly Diagnosis[]): CheckName[] =>
  found.filter(({ verdict }) => verdict === "problem").map(({ check }) => check);
const findingOf = (found: readonly Diagnosis[], check: CheckName): Diagnosis | undefined =>
  found.find((each) => each.check === check);

describeSincePostgres(17, "A queue small enough to be filled")("diagnose", () => {
  const suite = faultSuite({ max_notify_queue_pages: "64" });

  describeWithPgBouncer()("behind PgBouncer in transaction mode", () => {
    let pooler: PgBouncer;
    beforeAll(async () => (pooler = await PgBouncer.start(suite.server.url, "transaction")));
    afterAll(async () => pooler.stop());

    it("names the pooler as the reason why no notifications arrive, and the remedy", async () => {
      const backend = await suite.open({}, pooler.url);
      const found = await backend.diagnose();
      expect(badIn(found)).toEqual(["pooler", "listening", "round-trip"]);
      expect(findingOf(found, "pooler")?.remedy).toContain("listen: { connection }");
      await backend.close();
    });

    it("finds no problem with a direct address for LISTEN", async () => {
      const backend = await suite.open({ listen: { connection: suite.server.url } }, pooler.url);
      const found = await backend.diagnose();
      expect(badIn(found)).toEqual([]);
      expect(findingOf(found, "pooler")?.finding).toContain("through a pooler");
      await backend.close();
    });
  });

  it("names the session that holds the lock of notifying commits, and how many wait", async () => {
    const backend = await suite.open();
    await suite.server.configure({ synchronous_standby_names: "ghost" });
    const [holder, waiter] = [await suite.connect(), await suite.connect()];
    const held = holder.query("create table held (); select pg_notify('elsewhere', '')");
    await eventually(async () =>
      expect(await suite.server.sql("select from pg_stat_activity where wait_event = 'SyncRep'")).toHaveLength(1),
    );
    const waiting = waiter.query("select pg_notify('elsewhere', '')");
    await eventually(async () =>
      expect(await suite.server.sql("select from pg_stat_activity where wait_event = 'object'")).toHaveLength(1),
    );
    const finding = /^[1-9] session\(s\) wait .*, the first for \d+\.\d s\. Process \d+ \(spec admin\) holds it\.$/;
    // Once the session has waited for a second.
    await eventually(async () => {
      const found = await backend.diagnose({ probe: false });
      expect(findingOf(found, "lock")).toMatchObject({
        verdict: "problem",
        finding: expect.stringMatching(finding) as unknown,
      });
    });
    expect((await backend.health()).problems.join()).toContain("wait for the lock of notifying commits");
    await suite.server.configure({ synchronous_standby_names: null });
    await Promise.all([held, waiting]);
    expect(findingOf(await backend.diagnose({ probe: false }), "lock")?.verdict).toBe("ok");
    await backend.close();
  });

  it("finds no problem on an idle server", async () => {
    const backend = await suite.open();
    const found = await backend.diagnose();
    expect(found.filter(({ verdict }) => verdict !== "ok")).toEqual([]);
    await backend.close();
  });

  it("reports how full the notification queue is", async () => {
    const backend = await suite.open();
    const [blocker, filler] = [await suite.connect(), await suite.connect()];
    await blocker.query("listen elsewhere");
    await blocker.query("begin");
    await blocker.query("select 1");
    // More than a quarter of the 64 pages of 8 KiB.
    await filler.query(
      "select pg_notify('elsewhere', index || rpad('', 7000, 'x')) from generate_series(1, 30) as index",
    );
    const found = await backend.diagnose();
    expect(badIn(found)).toEqual(["queue"]);
    expect(findingOf(found, "queue")?.remedy).toContain("pg_terminate_backend");
    await blocker.query("commit");
    await eventually(async () => expect(badIn(await backend.diagnose())).toEqual([]));
    await backend.close();
  });
});
