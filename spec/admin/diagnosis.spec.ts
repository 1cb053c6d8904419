import { escapeIdentifier } from "pg";
import type { CheckName, Diagnosis, PostgresResultBackend } from "kojin-postgres";
import { checkServer } from "../../lib/admin/checks";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("diagnose", () => {
  const database = specDatabase("diagnose");
  const name = escapeIdentifier(database.schema);

  const badIn = (found: readonly Diagnosis[]): CheckName[] =>
    found.filter(({ verdict }) => verdict !== "ok").map(({ check }) => check);
  const findingOf = (found: readonly Diagnosis[], check: CheckName): Diagnosis | undefined =>
    found.find((each) => each.check === check);

  /**
   * Diagnoses while no session waits for the lock of notifying commits. The whole server has one such lock, and other
   * specs notify at the same time. spec/faults/diagnosis.spec.ts covers the lock on a server of its own.
   */
  async function diagnose(backend: PostgresResultBackend): Promise<readonly Diagnosis[]> {
    return eventually(
      async () => {
        const found = await backend.diagnose();
        expect(findingOf(found, "lock")).toMatchObject({ verdict: "ok" });
        return found;
      },
      { timeoutMs: 30_000 },
    );
  }

  it("finds no problem in a healthy database, and leaves nothing behind", async () => {
    const backend = await database.open();
    const found = await diagnose(backend);
    expect(badIn(found)).toEqual([]);
    expect(found.map(({ check }) => check)).toEqual([
      "server",
      "pooler",
      "listening",
      "queue",
      "lock",
      "listeners",
      "settings",
      "schema",
      "triggers",
      "rights",
      "access",
      "channel",
      "subscriptions",
      "round-trip",
    ]);
    expect(await database.sql(`select task_id from ${name}.kojin_results`)).toEqual([]);
    expect(backend.stats().waiting).toBe(0);
  });

  it("stores nothing if probe is false", async () => {
    const backend = await database.open();
    const found = await backend.diagnose({ probe: false });
    expect(findingOf(found, "round-trip")).toBeUndefined();
    expect(backend.stats().stores.rows).toBe(0);
  });

  it("names disabled triggers, without which its own result is not announced, until migrate() enables them", async () => {
    const backend = await database.open({ notify: "trigger" });
    await database.sql(`alter table ${name}.kojin_results disable trigger kojin_results_notify_insert`);
    const found = await diagnose(backend);
    expect(badIn(found)).toEqual(["triggers", "round-trip"]);
    expect(findingOf(found, "triggers")).toMatchObject({
      verdict: "problem",
      finding: expect.stringContaining("kojin_results_notify_insert (disabled)") as unknown,
      remedy: expect.stringContaining("kojin-postgres migrate") as unknown,
    });
    await backend.migrate();
    expect(badIn(await diagnose(backend))).toEqual([]);
  });

  it("says what to run before the first migration, and names migrated schemas", async () => {
    const backend = await database.open({ schema: "spec never migrated" });
    const found = await diagnose(backend);
    expect(badIn(found)).toEqual(["schema"]);
    expect(findingOf(found, "schema")).toMatchObject({
      finding: expect.stringContaining(JSON.stringify(database.schema)) as unknown,
      remedy: expect.stringContaining('kojin-postgres migrate --schema "spec never migrated"') as unknown,
    });
  });

  it("reports a renamed schema, whose functions still use the old name", async () => {
    const [before, after] = [`${database.schema} before`, `${database.schema} after`];
    for (const schema of [before, after]) database.createSchema(schema);
    await (await database.open({ schema: before })).migrate();
    await database.sql(`alter schema ${escapeIdentifier(before)} rename to ${escapeIdentifier(after)}`);
    const found = await diagnose(await database.open({ schema: after }));
    expect(findingOf(found, "channel")).toMatchObject({
      verdict: "problem",
      remedy: expect.stringContaining("cannot be renamed") as unknown,
    });
  });

  it("names roles whose writes send no notifications", async () => {
    const role = `spec_silent_${process.pid}`;
    await database.sql(`create role ${role}`);
    try {
      await database.sql(`alter role ${role} set kojin.notify = 'off'`);
      const found = await diagnose(await database.open());
      expect(badIn(found)).toEqual(["settings"]);
      expect(findingOf(found, "settings")?.finding).toContain(`kojin.notify=off (${role}`);
    } finally {
      await database.sql(`drop role ${role}`);
    }
  });

  it("reports checks that could not run", async () => {
    const role = `spec_blind_${process.pid}`;
    await database.sql(`create role ${role} login password 'x'`);
    try {
      const url = new URL(database.poolUrl);
      [url.username, url.password] = [role, "x"];
      const backend = await database.open({}, url.href);
      const found = await diagnose(backend);
      expect(findingOf(found, "schema")?.verdict).toBe("unknown");
      expect(findingOf(found, "round-trip")?.verdict).toBe("unknown");
      await backend.close();
    } finally {
      await database.sql(`drop role ${role}`);
    }
  });
});

describe("the check of the server", () => {
  const server = {
    version: "16.4",
    versionNumber: 160_004,
    isStandby: false,
    database: "app",
  };

  it.each([
    ["an old one", { versionNumber: 130_009, version: "13.9" }, "problem", "older than 14"],
    ["a standby", { isStandby: true }, "problem", "standby"],
    ["a new one", { versionNumber: 190_000, version: "19.0" }, "warning", "newer"],
    ["a supported one", {}, "ok", "PostgreSQL 16.4"],
  ])("reports %s", (_title, facts, verdict, words) => {
    const finding = checkServer({ facts: { server: { ...server, ...facts }, replicationRole: "origin" } });
    expect(finding).toMatchObject({ verdict, finding: expect.stringContaining(words) as unknown });
  });

  it("reports a session whose writes fire no triggers", () => {
    expect(checkServer({ facts: { server, replicationRole: "replica" } })).toMatchObject({ verdict: "problem" });
  });
});
