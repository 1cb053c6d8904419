import type { PoolClient } from "pg";
import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("a group and its members", () => {
  const database = specDatabase("group snapshots");
  const schema = escapeIdentifier(database.schema);
  const members = `${schema}.kojin_groups`;
  let locking: PoolClient;

  beforeEach(async () => {
    locking = await database.pool.connect();
  });
  afterEach(() => locking.release());

  /** Keeps members from being read until the group has expired; that the group is done can still be read. */
  async function expireBetween(groupId: string, read: () => Promise<unknown>): Promise<unknown> {
    const backend = await database.open();
    await backend.initGroup(groupId, ["a", "b", "c"], { ttlMs: 60_000 });
    for (const taskId of ["a", "b", "c"]) await backend.completeGroupMember(groupId, taskId, taskId);
    await locking.query(`begin; lock table ${members} in access exclusive mode`);
    const outcome = read().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    await eventually(async () => {
      const blocked = await database.sql(
        "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%page.task_id%' and application_name like $1 || '%'",
        [`spec group snapshots ${process.pid}`],
      );
      expect(blocked).not.toEqual([]);
    });
    await database.sql(`update ${schema}.kojin_group_state set expires_at = clock_timestamp() where group_id = $1`, [
      groupId,
    ]);
    await locking.query("commit");
    return outcome;
  }

  it("are read as one: a wait for a group that expires in between does not resolve with nothing", async () => {
    const backend = await database.open();
    // The limit of the call, although what was left of it is waited for when the group has expired.
    const late = { timeoutMs: 2_000, message: expect.stringMatching(/ 2000 ms: .* has expired\.$/) as string };
    expect(await expireBetween("waited", async () => backend.waitGroup("waited", 2_000))).toMatchObject({
      error: { code: "WAIT_TIMEOUT", ...late },
    });
    for (const [groupId, read] of [
      ["results", async () => lastValueFrom(backend.groupResults$("results"))],
      ["members", async () => lastValueFrom(backend.groupMembers$("members").pipe(toArray()))],
    ] as const)
      expect(await expireBetween(groupId, read)).toMatchObject({ error: { code: "WAIT_TIMEOUT" } });
  });

  it("are read page by page, in order", async () => {
    const backend = await database.open();
    const ids = Array.from({ length: 2_500 }, (_, index) => `${index % 3 === 0 ? "b" : "B"} ${index}`);
    await backend.initGroup("declared", ids);
    await backend.initGroup("counted", ids.length);
    for (const groupId of ["declared", "counted"])
      await Promise.all(ids.map(async (taskId) => backend.completeGroupMember(groupId, taskId, taskId)));
    expect(await backend.waitGroup("declared", 10_000)).toEqual(ids);
    expect(await backend.waitGroup("counted", 10_000)).toEqual([...ids].sort());
    expect(await backend.getGroupResults("counted")).toEqual([...ids].sort());
  });

  it("are not given out where the counts are not those of the members", async () => {
    const backend = await database.open();
    await backend.initGroup("damaged", 2);
    for (const taskId of ["a", "b"]) await backend.completeGroupMember("damaged", taskId, taskId);
    await database.sql(`alter table ${members} disable trigger all`);
    await database.sql(`delete from ${members} where group_id = 'damaged' and task_id = 'a'`);
    const expected = { code: "DATABASE", message: expect.stringContaining("recount") as string };
    await expect(backend.waitGroup("damaged", 10_000)).rejects.toMatchObject(expected);
    await expect(lastValueFrom(backend.groupMembers$("damaged"))).rejects.toMatchObject(expected);
    await backend.migrate();
    expect(await backend.getGroup("damaged")).toMatchObject({ total: 2, completed: 1, done: false });
  });
});
