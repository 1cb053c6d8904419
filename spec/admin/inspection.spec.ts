import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("inspect and countExpired", () => {
  const database = specDatabase("inspect");
  const name = escapeIdentifier(database.schema);

  it("give the state of this package's objects", async () => {
    const [backend, listening] = [await database.open(), await database.open()];
    await backend.store("lives", { some: "value" });
    await listening.ready();
    const inspection = await backend.inspect();
    expect(inspection).toMatchObject({
      schema: database.schema,
      schemaVersion: inspection.latestVersion,
      server: { isStandby: false, version: expect.stringMatching(/^\d+(\.\d+)?/) as unknown },
      channel: expect.stringMatching(/^kojin_[0-9a-f]{16}$/) as unknown,
      expired: { results: 0, groups: 0, streams: 0 },
    });
    expect(inspection.server.versionNumber).toBeGreaterThanOrEqual(140_000);
    const triggers = await database.sql<{ tgname: string }>(
      `select tgname from pg_trigger join pg_class on pg_class.oid = tgrelid
       where relnamespace = $1::regnamespace and not tgisinternal order by tgname collate "C"`,
      [name],
    );
    expect(inspection.triggers.map((trigger) => trigger.name)).toEqual(triggers.map(({ tgname }) => tgname));
    expect(new Set(inspection.triggers.map(({ state }) => state))).toEqual(new Set(["enabled"]));
    expect(inspection.tables.map((table) => table.name)).toEqual([
      "kojin_chunks",
      "kojin_group_state",
      "kojin_groups",
      "kojin_migrations",
      "kojin_results",
      "kojin_streams",
    ]);
    for (const { bytes } of inspection.tables) expect(bytes).toBeGreaterThan(0);
    expect(inspection.listeners).toBeGreaterThanOrEqual(1);
    expect(inspection.notifyQueueUsage).toBeLessThan(0.25);
  });

  it("give the state of each trigger", async () => {
    const backend = await database.open();
    await database.sql(`alter table ${name}.kojin_results disable trigger kojin_results_notify_insert`);
    await database.sql(`alter table ${name}.kojin_results enable always trigger kojin_results_notify_update`);
    await database.sql(`drop trigger kojin_groups_foreign_insert on ${name}.kojin_groups`);
    const states = new Map((await backend.inspect()).triggers.map((trigger) => [trigger.name, trigger.state]));
    expect(states.get("kojin_results_notify_insert")).toBe("disabled");
    expect(states.get("kojin_results_notify_update")).toBe("always");
    expect(states.get("kojin_groups_foreign_insert")).toBe("missing");
    expect(states.get("kojin_groups_count_insert")).toBe("enabled");
  });

  it("count what prune() would delete, at any age", async () => {
    const backend = await database.open();
    await Promise.all([backend.store("gone 1", 1, { ttlMs: 1 }), backend.store("gone 2", 1, { ttlMs: 1 })]);
    await backend.initGroup("gone group", 0, { ttlMs: 1 });
    await eventually(async () => expect(await backend.countExpired()).toEqual({ results: 2, groups: 1, streams: 0 }));
    expect((await backend.inspect()).expired).toEqual({ results: 2, groups: 1, streams: 0 });
    expect(await backend.countExpired({ olderThanMs: 3_600_000 })).toEqual({ results: 0, groups: 0, streams: 0 });
    await expect(backend.countExpired({ olderThanMs: -1 })).rejects.toBeInstanceOf(RangeError);
    expect(await backend.prune()).toEqual({ results: 2, groups: 1, streams: 0 });
    expect(await backend.countExpired()).toEqual({ results: 0, groups: 0, streams: 0 });
  });

  it("report a schema that was never migrated", async () => {
    const backend = await database.open({ schema: "spec never migrated" });
    const inspection = await backend.inspect();
    expect(inspection).toMatchObject({ schemaVersion: 0, tables: [] });
    expect(inspection.expired).toBeUndefined();
    expect(inspection.triggers.every(({ state }) => state === "missing")).toBe(true);
  });

  it("leave out what the role may not read", async () => {
    const role = `spec_inspector_${process.pid}`;
    await database.sql(`create role ${role} login password 'x'`);
    await database.sql(`grant usage on schema ${name} to ${role}`);
    try {
      const url = new URL(database.url);
      [url.username, url.password] = [role, "x"];
      const backend = await database.open({}, url.href);
      const inspection = await backend.inspect();
      expect(inspection.schemaVersion).toBeUndefined();
      expect(inspection.expired).toBeUndefined();
      expect(inspection.tables).toHaveLength(6);
      await backend.close();
    } finally {
      await database.sql(`drop owned by ${role}`);
      await database.sql(`drop role ${role}`);
    }
  });
});
