import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("members of groups that were written around the triggers", () => {
  const database = specDatabase("uncounted members");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open({ sweepIntervalMs: 300 });
  });

  /** As the Rust crate does it, which knows of no failures. */
  const complete = async (groupId: string, taskId: string): Promise<unknown> =>
    database.sql(
      `insert into ${members} (group_id, task_id, result, completed) values ($1, $2, to_jsonb($2::text), true)
       on conflict (group_id, task_id) do update set result = excluded.result, completed = true`,
      [groupId, taskId],
    );
  const disable = async (which = "all"): Promise<unknown> =>
    database.sql(`alter table ${members} disable trigger ${which}`);

  it("are counted as completed where a success was written over a failure, and not as failed too", async () => {
    await backend.initGroup("retried", 2);
    await backend.failGroupMember("retried", "a", new Error("first try"));
    await disable();
    await complete("retried", "a");
    await backend.migrate();
    expect(await backend.getGroup("retried")).toMatchObject({ total: 2, completed: 1, failed: 0, done: false });
    expect(await backend.completeGroupMember("retried", "b", "b")).toBe(2);
    expect(await backend.waitGroup("retried", 5_000)).toEqual(["a", "b"]);
    expect(await lastValueFrom(backend.groupMembers$("retried").pipe(toArray()))).toEqual([
      { taskId: "a", status: "fulfilled", value: "a" },
      { taskId: "b", status: "fulfilled", value: "b" },
    ]);
  });

  it.each<[string, number | string[]]>([
    ["that has a number of members", 3],
    ["whose members are named", ["a", "b", "c"]],
  ])(
    "count once where the trigger that clears old failures is the only one disabled, in a group %s",
    async (id, size) => {
      await backend.initGroup(id, size);
      for (const taskId of ["a", "b"]) await backend.failGroupMember(id, taskId, new Error(`no ${taskId}`));
      await disable("kojin_groups_foreign_update");
      await complete(id, "a");
      expect(await backend.getGroup(id)).toMatchObject({ completed: 1, failed: 1, done: false });
      await complete(id, "c");
      await expect(backend.waitGroup(id, 5_000)).rejects.toMatchObject({
        failures: [{ taskId: "b", failure: { message: "no b" } }],
      });
      expect((await backend.migrate()).repaired).toEqual(["kojin_groups_foreign_update"]);
      expect(await backend.getGroup(id)).toMatchObject({ completed: 2, failed: 1, done: true });
    },
  );

  it("count once, as completed, where a writer says that they failed as well", async () => {
    await backend.initGroup("both", 2);
    const both = `insert into ${members} (group_id, task_id, result, error, completed) values ('both', $1, '1', '{"message": "no"}', true)`;
    await database.sql(both, ["a"]);
    expect(await backend.getGroup("both")).toMatchObject({ completed: 1, failed: 0, done: false });
    await database.sql(both, ["b"]);
    expect(await backend.waitGroup("both", 5_000)).toEqual([1, 1]);
    const outcomes = await lastValueFrom(backend.groupMembers$("both").pipe(toArray()));
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    await database.sql(`update ${members} set completed = false where group_id = 'both' and task_id = 'b'`);
    expect(await backend.getGroup("both")).toMatchObject({ completed: 1, failed: 1 });
  });

  it("do not bring back a group whose deadline has passed", async () => {
    await backend.initGroup("expired", 1, { deadlineMs: 1 });
    await eventually(async () => expect(await backend.getGroup("expired")).toBeUndefined());
    const completions: string[] = [];
    const subscription = backend.groupCompletions$().subscribe(({ groupId }) => completions.push(groupId));
    await backend.ready();
    await backend.initGroup("alive", 1);
    await disable();
    for (const groupId of ["expired", "alive"]) await complete(groupId, "a");
    await backend.migrate();
    await eventually(() => expect(completions).toContain("alive"));
    expect(completions).toEqual(["alive"]);
    expect(await backend.getGroup("expired")).toBeUndefined();
    expect((await backend.prune()).groups).toBe(1);
    subscription.unsubscribe();
  });
});
