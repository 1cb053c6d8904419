import { escapeIdentifier } from "pg";
import { firstValueFrom, take, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { latestVersion } from "../../../lib/schema/migration-files";
import { eventually } from "../../support/eventually";

/** Runs a statement on a connection with the usual settings. */
export type RunSql = (text: string, values?: unknown[]) => Promise<Record<string, unknown>[]>;

/**
 * Migrates an empty schema twice. Then makes its tables refuse certain rows, so that batches with them are stored row
 * by row.
 */
export async function migrateTwice(backend: PostgresResultBackend, schema: string, sql: RunSql): Promise<void> {
  expect((await backend.planMigration()).pending).toHaveLength(latestVersion);
  expect((await backend.migrate()).applied).toHaveLength(latestVersion);
  expect(await backend.migrate({ recount: true })).toMatchObject({ applied: [], repaired: [] });
  expect(await backend.planMigration()).toMatchObject({ pending: [], disabledTriggers: [] });
  for (const table of ["kojin_results", "kojin_groups"])
    await sql(`alter table ${escapeIdentifier(schema)}.${table} add constraint fit check (task_id <> 'unfit')`);
}

/** Stores, reads, waits for, streams, expires, deletes and prunes results, with or without tracing. */
export async function roundOfResults(backend: PostgresResultBackend, schema: string, sql: RunSql): Promise<void> {
  const ids = ["round 1", "round 2", "round 3", "round 4", "round 5"];
  const streamed = firstValueFrom(backend.results$().pipe(take(6), toArray()));
  const waits = [...ids, "alone"].map(async (taskId) => backend.waitSettled(taskId, 60_000));
  await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }), {
    timeoutMs: 20_000,
  });
  const storeAll = (): Promise<void>[] => [
    backend.store("round 1", { text: 'NULL "quoted" \\ {NULL,null} \' é 値', number: 0.1 + 0.2 }),
    backend.fail("round 2", new Error("NULL")),
    backend.store("round 3", null, { ttlMs: Infinity }),
    backend.store("round 4", "null", { ttlMs: 123_456_789.25 }),
    backend.store("round 5", ["kept"], { onConflict: "keep" }),
  ];
  await Promise.all(storeAll());
  await backend.store("alone", [1234.5678901, -0.000001, 1e21]);
  const settled = [
    { status: "fulfilled", value: { text: 'NULL "quoted" \\ {NULL,null} \' é 値', number: 0.1 + 0.2 } },
    { status: "rejected", reason: expect.objectContaining({ message: "Task round 2 failed: Error: NULL" }) as unknown },
    { status: "fulfilled", value: null },
    { status: "fulfilled", value: "null" },
    { status: "fulfilled", value: ["kept"] },
    { status: "fulfilled", value: [1234.5678901, -0.000001, 1e21] },
  ];
  expect(await Promise.all(waits)).toEqual(settled);
  expect((await streamed).map(({ taskId }) => taskId).sort()).toEqual(["alone", ...ids]);

  // Again with a row that the table refuses, so that each row is stored by itself.
  const refused = backend.store("unfit", 1);
  await Promise.all([
    expect(refused).rejects.toMatchObject({ name: "DatabaseError", sqlState: "23514" }),
    ...storeAll(),
    backend.fail("one by one", { code: 7 }, { ttlMs: Infinity }),
  ]);
  expect(await Promise.all(ids.map(async (taskId) => backend.getSettled(taskId)))).toEqual(settled.slice(0, 5));
  expect(await backend.getSettled("one by one")).toMatchObject({ status: "rejected" });
  const rows = await sql(
    `select task_id, error is null as is_success, trace_context is null or trace_context like '00-%' as is_traced_well,
       (extract(epoch from expires_at - stored_at) * 1000)::float8 as ttl_ms
     from ${escapeIdentifier(schema)}.kojin_results where task_id like 'round %' order by task_id`,
  );
  expect(rows.map(({ is_success }) => is_success)).toEqual([true, false, true, true, true]);
  expect(rows.map(({ is_traced_well }) => is_traced_well)).toEqual([true, true, true, true, true]);
  const ttls = [86_400_000, 86_400_000, null, 123_456_789, 86_400_000];
  // The lifetime begins with the statement, and each row has a time of its own.
  rows.forEach(({ ttl_ms }, index) => {
    if (ttls[index] === null) expect(ttl_ms).toBeNull();
    else expect(Math.abs(Number(ttl_ms) - Number(ttls[index]))).toBeLessThan(60_000);
  });

  expect(await backend.delete("round 1")).toBe(true);
  expect(await backend.delete("round 1")).toBe(false);
  expect(await backend.get("round 1")).toBeUndefined();
  await backend.store("short", 1, { ttlMs: 1 });
  await eventually(async () => expect(await backend.get("short")).toBeUndefined());
  expect(await backend.prune()).toMatchObject({ results: 1 });
}

/** Declares, completes, fails, waits for, claims, counts and prunes groups. */
export async function roundOfGroups(backend: PostgresResultBackend): Promise<void> {
  await backend.initGroup("by number", 3);
  await backend.initGroup("by ids", ["NULL", "null", 'b "\\'], { ttlMs: 3_600_000, deadlineMs: 600_000 });
  await backend.initGroup("for ever", 1, { ttlMs: Infinity });
  await expect(backend.initGroup("by number", 4)).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
  const done = backend.waitGroup("by number", 60_000);
  const failed = backend.waitGroup("by ids", 60_000);
  failed.catch(() => undefined);
  await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }), {
    timeoutMs: 20_000,
  });
  const counts = await Promise.all([
    backend.completeGroupMember("by ids", "NULL", null),
    backend.failGroupMember("by ids", "null", new Error("NULL")),
    backend.completeGroupMember("by ids", 'b "\\', "NULL"),
    backend.completeGroupMember("by number", "a", { a: [1, null] }),
    backend.completeGroupMember("by number", "b", "null"),
  ]);
  expect(counts.slice(3).sort()).toEqual([1, 2]);
  await expect(failed).rejects.toMatchObject({
    code: "GROUP_FAILED",
    failures: [expect.objectContaining({ taskId: "null", message: "Task null failed: Error: NULL" })],
  });
  // With a member that the table refuses, so that each member is finished by itself.
  const refused = backend.completeGroupMember("for ever", "unfit", 1);
  await Promise.all([
    expect(refused).rejects.toMatchObject({ name: "DatabaseError", sqlState: "23514" }),
    backend.completeGroupMember("by number", "c", null),
    backend.failGroupMember("for ever", "x", "NULL"),
  ]);
  expect(await done).toEqual([{ a: [1, null] }, "null", null]);
  expect(await backend.getGroup("by ids")).toMatchObject({ total: 3, completed: 2, failed: 1, done: true });
  expect(await backend.getGroup("for ever")).toMatchObject({ total: 1, completed: 0, failed: 1, done: true });
  expect(await backend.getGroupResults("by ids")).toEqual([null, "NULL"]);
  expect(await backend.claimGroup("by number", { leaseMs: 1 })).toBeDefined();
  await eventually(async () => expect(await backend.claimGroup("by number")).toBeDefined());
  expect(await backend.claimGroup("by number")).toBeUndefined();
  expect((await backend.unclaimedGroups()).map(({ groupId }) => groupId).sort()).toEqual(["by ids", "for ever"]);
  await backend.initGroup("brief", 0, { ttlMs: 1 });
  await eventually(async () => expect(await backend.getGroup("brief")).toBeUndefined());
  expect(await backend.prune()).toMatchObject({ groups: 1 });
  expect(await backend.getGroup("by number")).toMatchObject({ completed: 3 });
}

/** Makes calls that take longer than a limit of 100 ms per statement or transaction. */
export async function slowRound(backend: PostgresResultBackend): Promise<void> {
  const ids = Array.from({ length: 10_000 }, (_, index) => `member ${index}`);
  await backend.initGroup("large", ids);
  expect(await backend.getGroup("large")).toMatchObject({ total: 10_000, completed: 0 });
}

/** Runs `health` and `diagnose`, which must find no fault in the schema, the session or the delivery of results. */
export async function roundOfChecks(backend: PostgresResultBackend): Promise<void> {
  expect(await backend.health()).toMatchObject({ ok: true, problems: [] });
  const found = Object.fromEntries((await backend.diagnose()).map(({ check, verdict }) => [check, verdict]));
  expect(found).toMatchObject({
    server: "ok",
    listening: "ok",
    schema: "ok",
    triggers: "ok",
    rights: "ok",
    access: "ok",
    channel: "ok",
    "round-trip": "ok",
  });
  expect(await backend.inspect()).toMatchObject({});
}
