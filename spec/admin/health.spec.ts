import { escapeIdentifier } from "pg";
import { latestVersion } from "../../lib/schema/migration-files";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("health() and stats()", () => {
  const database = specDatabase("health");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;

  it("give all figures of a healthy backend", async () => {
    const [backend, storing] = [await database.open(), await database.open()];
    await storing.store("there", 1);
    const waits = backend.wait("later", 20_000);
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    expect(await backend.health()).toEqual({
      ok: true,
      status: "listening",
      problems: [],
      databaseMs: expect.any(Number) as number,
      schemaVersion: latestVersion,
      notifyQueueUsage: expect.any(Number) as number,
      heartbeatMs: expect.any(Number) as number,
      reconnects: 0,
    });
    expect(backend.stats()).toMatchObject({ waiting: 1, waitingGroups: 0, feeds: 0, caughtBySweep: 0, reconnects: 0 });
    await storing.store("later", 1);
    await waits;
    await backend.wait("there", 20_000);
    expect(backend.stats()).toMatchObject({ waiting: 0, wokenBy: { notification: 1, read: 1, sweep: 0 } });
  });

  it("name disabled triggers until migrate() enables them", async () => {
    const backend = await database.open();
    await database.sql(`alter table ${results} disable trigger kojin_results_notify_insert`);
    const health = await backend.health();
    expect(health.ok).toBe(false);
    expect(health.problems).toEqual([expect.stringContaining("kojin_results_notify_insert")]);
    await backend.migrate();
    expect(await backend.health()).toMatchObject({ ok: true, problems: [] });
  });

  it("name what is missing before the first migration", async () => {
    const schema = "spec never migrated";
    const backend = await database.open({ schema });
    const { ok, problems } = await backend.health();
    expect({ ok, problems }).toEqual({ ok: false, problems: [expect.stringContaining("migrate()")] });
  });

  it("count results and groups that only a sweep found although the listener was listening", async () => {
    const [backend, storing] = [await database.open({ sweepIntervalMs: 2_000 }), await database.open()];
    await storing.initGroup("swept", 1);
    const waits = [backend.wait("swept", 20_000), backend.waitGroup("swept", 20_000)];
    // Right after a sweep: the next one is more than a second away.
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", sweeps: 1 }));
    const client = await database.pool.connect();
    await client.query("begin; set local kojin.notify = 'off'");
    await storing.store("swept", 1, { client });
    await storing.completeGroupMember("swept", "a", 1, { client });
    await client.query("commit");
    client.release();
    await Promise.all(waits);
    expect(backend.stats()).toMatchObject({ caughtBySweep: 2, wokenBy: { sweep: 2 } });
  });
});
