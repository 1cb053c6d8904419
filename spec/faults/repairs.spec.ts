import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("migrate() that has triggers to enable", () => {
  const database = specDatabase("repairs");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const crateComplete = `insert into ${members} (group_id, task_id, result, completed) values ($1, $2, '1', true)
    on conflict (group_id, task_id) do update set result = excluded.result, completed = true`;
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open({ sweepIntervalMs: 300 });
  });
  const disable = async (): Promise<unknown> => database.sql(`alter table ${members} disable trigger all`);
  const waitingForLocks = async (): Promise<number> => {
    const [row] = await database.sql<{ count: number }>(
      "select count(*)::int from pg_stat_activity where wait_event_type = 'Lock' and query like '%' || $1 || '%'",
      [database.schema],
    );
    return row?.count ?? 0;
  };

  it("counts each member once, those from before and those that are written meanwhile", async () => {
    const groups = Array.from({ length: 4 }, (_, index) => `load ${index}`);
    for (const groupId of groups) await backend.initGroup(groupId, 120);
    const waits = groups.map(async (groupId) => backend.waitGroup(groupId, 60_000));
    let [written, isRepaired] = [0, false];
    const write = async (): Promise<void> => {
      while (written < 60) {
        // So that there are writes before, during and after the last repair.
        if (written < 50 || isRepaired) written += 1;
        const index = written;
        await Promise.all(
          groups.flatMap((groupId) => [
            backend.completeGroupMember(groupId, `ours ${index}`, 1),
            database.sql(crateComplete, [groupId, `crate ${index}`]),
          ]),
        );
      }
    };
    const writing = write();
    for (let round = 1; round <= 4; round += 1) {
      await disable();
      await eventually(() => expect(written).toBeGreaterThanOrEqual(round * 10));
      expect((await backend.migrate()).repaired).toContain("kojin_groups_count_insert");
    }
    isRepaired = true;
    await writing;
    for (const groupId of groups)
      expect(await backend.getGroup(groupId)).toMatchObject({ total: 120, completed: 120, done: true });
    for (const results of await Promise.all(waits)) expect(results).toHaveLength(120);
  });

  it("tries again when it deadlocks with a writer who has a group already, and leaves that one alone", async () => {
    await backend.initGroup("held", 2);
    await disable();
    await database.sql(crateComplete, ["held", "uncounted"]);
    const writer = await database.pool.connect();
    // Postgres ends the session that checks for the deadlock first. This one checks late.
    await writer.query("begin; set local deadlock_timeout = '60s'");
    await writer.query(`select from ${escapeIdentifier(database.schema)}.kojin_group_state for update`);
    const migrated = backend.migrate();
    await eventually(async () => expect(await waitingForLocks()).toBe(1));
    await writer.query(crateComplete, ["held", "late"]);
    await writer.query("commit");
    writer.release();
    expect((await migrated).repaired).toContain("kojin_groups_count_insert");
    expect(await backend.getGroup("held")).toMatchObject({ completed: 2, done: true });
  });

  it.each(["kojin_groups_count_insert", "kojin_results_notify_insert"])(
    "enables %s where it fires in replication only, which health() tells",
    async (trigger) => {
      const table = trigger.replace(/_(count|notify)_insert/, "");
      await backend.initGroup(trigger, 2);
      await database.sql(`alter table ${escapeIdentifier(database.schema)}.${table} enable replica trigger ${trigger}`);
      await database.sql(crateComplete, [trigger, "a"]);
      expect((await backend.health()).problems.join()).toContain(trigger);
      expect((await backend.migrate()).repaired).toEqual([trigger]);
      expect(await backend.health()).toMatchObject({ ok: true });
      expect(await backend.getGroup(trigger)).toMatchObject({ completed: 1 });
    },
  );
});
