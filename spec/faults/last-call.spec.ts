import type { Client } from "pg";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

describe("calls for one row that is locked", () => {
  const suite = faultSuite();

  /**
   * Waits until a statement has waited for a lock for longer than a call may be old to be written without a check.
   * `watcher` has no transaction open: within one, the view shows what it showed at first.
   */
  async function lockAwaited(watcher: Client): Promise<void> {
    const text = `select from pg_stat_activity
      where application_name = 'kojin-postgres' and wait_event_type = 'Lock' and query_start < clock_timestamp() - interval '700 ms'`;
    await eventually(async () => expect((await watcher.query(text)).rowCount).toBe(1), { timeoutMs: 20_000 });
  }

  it.each([
    ["the first statement", 0],
    ["a later attempt", 1],
  ])("are written in their order where %s waits for it", async (_what, retries) => {
    const backend = await suite.open();
    const [admin, watcher] = [await suite.connect(), await suite.connect()];
    const id = `locked ${retries}`;
    await admin.query("begin");
    await backend.store(id, "in a transaction", { client: admin });
    const first = backend.store(id, "first");
    await eventually(() => expect(backend.stats().stores.inFlight).toBe(1));
    const second = backend.store(id, "second");
    await eventually(() => expect(backend.stats().stores.retries).toBeGreaterThanOrEqual(retries));
    await lockAwaited(watcher);
    await admin.query("commit");
    await Promise.all([first, second]);
    expect(await backend.get(id)).toBe("second");
  });

  it("are written in their order also for a member of a group", async () => {
    const backend = await suite.open();
    const [admin, watcher] = [await suite.connect(), await suite.connect()];
    await backend.initGroup("locked group", ["member", "other"]);
    await admin.query("begin");
    await backend.completeGroupMember("locked group", "other", 1, { client: admin });
    const first = backend.completeGroupMember("locked group", "member", "first");
    await eventually(() => expect(backend.stats().groupWrites.inFlight).toBe(1));
    const second = backend.completeGroupMember("locked group", "member", "second");
    await lockAwaited(watcher);
    await admin.query("commit");
    await Promise.all([first, second]);
    expect(await backend.getGroupResults("locked group")).toEqual(["second", 1]);
  });
});
