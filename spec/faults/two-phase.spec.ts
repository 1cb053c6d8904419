import type { Client } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

describe("two-phase commit", () => {
  const suite = faultSuite({ max_prepared_transactions: "10" });
  let client: Client;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    client = await suite.connect();
    backend = await suite.open({ sweepIntervalMs: 300 });
  });

  it("is refused by Postgres where a transaction has notified", async () => {
    await client.query("begin");
    await backend.store("loud", 1, { client });
    await expect(client.query("prepare transaction 'loud'")).rejects.toMatchObject({ code: "0A000" });
    await client.query("rollback");
    expect(await backend.get("loud")).toBeUndefined();
  });

  it("works with kojin.notify = 'off', and waiters find what it commits", async () => {
    await backend.initGroup("prepared", 1);
    const waits = [backend.wait("prepared", 60_000), backend.waitGroup("prepared", 60_000)];
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await client.query("begin; set local kojin.notify = 'off'");
    await backend.store("prepared", 1, { client });
    await backend.completeGroupMember("prepared", "a", 2, { client });
    await client.query("prepare transaction 'quiet'");
    expect(await backend.get("prepared")).toBeUndefined();
    await client.query("commit prepared 'quiet'");
    expect(await Promise.all(waits)).toEqual([1, [2]]);
    expect(backend.stats().wokenBy).toMatchObject({ notification: 0, sweep: 2 });
  });

  it("that is rolled back leaves nothing", async () => {
    await client.query("begin; set local kojin.notify = 'off'");
    await backend.store("undone", 1, { client });
    await backend.initGroup("undone", 1, { client });
    await backend.completeGroupMember("undone", "a", 2, { client });
    await client.query("prepare transaction 'undone'");
    await client.query("rollback prepared 'undone'");
    expect(await backend.get("undone")).toBeUndefined();
    expect(await backend.getGroup("undone")).toBeUndefined();
    expect(await backend.getGroupResults("undone")).toEqual([]);
  });

  it("that is left open holds up writers of the same rows, and no others", async () => {
    const hasty = await suite.open({ retryTimeoutMs: 800 });
    await backend.store("forgotten", "before");
    await backend.initGroup("forgotten", 2);
    await client.query("begin; set local kojin.notify = 'off'");
    await backend.store("forgotten", "prepared", { client });
    await backend.completeGroupMember("forgotten", "a", 1, { client });
    await client.query("prepare transaction 'forgotten'");
    const blocked = [hasty.store("forgotten", "after"), hasty.completeGroupMember("forgotten", "b", 2)];
    for (const outcome of await Promise.allSettled(blocked))
      expect(outcome).toMatchObject({ status: "rejected", reason: { name: "DatabaseError", transient: true } });
    await hasty.store("unrelated", 1);
    expect(await hasty.completeGroupMember("unrelated", "a", 1)).toBe(1);
    expect(await hasty.get("forgotten")).toBe("before");
    expect(await hasty.getGroup("forgotten")).toMatchObject({ completed: 0 });
    // The client may have abandoned the last attempt before the server did, so it may still be stored.
    await eventually(async () =>
      expect(await suite.server.sql("select from pg_stat_activity where wait_event_type = 'Lock'")).toEqual([]),
    );
    await client.query("commit prepared 'forgotten'");
    expect(await hasty.get("forgotten")).toBe("prepared");
    expect(await hasty.completeGroupMember("forgotten", "b", 2)).toBe(2);
    await hasty.close();
  });

  it.each(["trigger", "deferred"] as const)(
    "finds every write of a caller's transaction silent that asks for it, with notify: '%s'",
    async (notify) => {
      const listener = await suite.connect();
      const heard: (string | undefined)[] = [];
      listener.on("notification", ({ payload }) => heard.push(payload));
      await listener.query(`listen ${channelOf("public")}`);
      const writing = await suite.open({ notify });
      const group = `silent ${notify}`;
      await client.query("begin; set local kojin.notify = 'off'");
      await writing.store(group, 1, { client });
      await writing.store(group, 2, { client, onConflict: "keep" });
      await writing.fail(`${group} failed`, new Error("x"), { client });
      await writing.initGroup(group, 2, { client });
      await writing.completeGroupMember(group, "a", 1, { client });
      await writing.failGroupMember(group, "b", new Error("x"), { client });
      await client.query("commit");
      // Notifications arrive in commit order, so none is missing before the marker.
      await client.query("select pg_notify($1, 'marker')", [channelOf("public")]);
      await eventually(() => expect(heard).toContain("marker"));
      expect(heard).toEqual(["marker"]);
    },
  );
});
