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

  /** As the Rust crate does it, which knows no failures. */
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
    expect(await backend.waitGroup("retried", 20_000)).toEqual(["a", "b"]);
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
      await expect(backend.waitGroup(id, 20_000)).rejects.toMatchObject({
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
    expect(await backend.waitGroup("both", 20_000)).toEqual([1, 1]);
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

  it("are shown once each to who watches a group of the crate's, those from before and those counted anew", async () => {
    for (const place of [0, 1, 2, 3])
      await database.sql(
        `insert into ${members} (group_id, task_id, completed) values ('rust', 'rust:placeholder:' || $1, false)`,
        [place],
      );
    await complete("rust", "a");
    const seen: string[] = [];
    const watched = lastValueFrom(backend.groupMembers$("rust").pipe(toArray()));
    const subscription = backend.groupMembers$("rust").subscribe(({ taskId }) => seen.push(taskId));
    await eventually(() => expect(seen).toEqual(["a"]));
    await disable();
    await complete("rust", "b");
    await complete("rust", "c");
    await backend.migrate();
    await eventually(() => expect([...seen].sort()).toEqual(["a", "b", "c"]));
    expect(await backend.getGroup("rust")).toEqual({ groupId: "rust", total: 4, completed: 3, failed: 0, done: false });
    await complete("rust", "d");
    const outcomes = await watched;
    expect(outcomes.map(({ taskId }) => taskId).sort()).toEqual(["a", "b", "c", "d"]);
    expect(await backend.waitGroup("rust", 20_000)).toEqual(["a", "b", "c", "d"]);
    subscription.unsubscribe();
  });
});

describe("members of groups whose state was lost", () => {
  const database = specDatabase("lost states");
  const schema = escapeIdentifier(database.schema);
  const [members, states] = [`${schema}.kojin_groups`, `${schema}.kojin_group_state`];
  const insert = `insert into ${members} (group_id, task_id, result, completed)`;

  /** Creates a group of two finished members without a state row. */
  async function loseState(groupId: string): Promise<PostgresResultBackend> {
    const backend = await database.open();
    await database.sql(`${insert} values ($1, 'a', '1', true), ($1, 'b', '2', true)`, [groupId]);
    await database.sql(`alter table ${states} disable trigger all`);
    await database.sql(`delete from ${states} where group_id = $1`, [groupId]);
    await database.sql(`alter table ${states} enable trigger all`);
    expect(await backend.getGroup(groupId)).toBeUndefined();
    return backend;
  }

  it.each<[string, string, number]>([
    [
      "an upsert that inserts and updates",
      `${insert} values ('an upsert that inserts and updates', 'b', null, false), ('an upsert that inserts and updates', 'c', '3', true)
       on conflict (group_id, task_id) do update set result = excluded.result, completed = excluded.completed`,
      2,
    ],
    [
      "a query that deletes and inserts",
      `with gone as (delete from ${members} where group_id = 'a query that deletes and inserts' and task_id = 'a' returning group_id)
       ${insert} select group_id, added.id, '3', true from gone, (values ('c'), ('d')) as added (id)`,
      3,
    ],
    [
      "a query that updates and inserts",
      `with changed as (
         update ${members} set result = null, completed = false where group_id = 'a query that updates and inserts' and task_id = 'a' returning group_id
       )
       ${insert} select group_id, 'c', '3', true from changed`,
      2,
    ],
  ])("are counted once by %s", async (groupId, statement, completed) => {
    const backend = await loseState(groupId);
    await database.sql(statement);
    expect(await backend.getGroup(groupId)).toMatchObject({ completed, failed: 0 });
    await database.sql(`${insert} values ($1, 'next', '5', true)`, [groupId]);
    expect(await backend.getGroup(groupId)).toMatchObject({ completed: completed + 1, failed: 0 });
  });

  it("are counted once by several statements in one transaction", async () => {
    const backend = await loseState("together");
    await database.sql(`
      begin;
      ${insert} values ('together', 'c', '3', true), ('together', 'b', null, false)
      on conflict (group_id, task_id) do update set result = excluded.result, completed = excluded.completed;
      ${insert} values ('together', 'd', '5', true);
      savepoint undone;
      ${insert} values ('together', 'e', '6', true);
      rollback to undone;
      delete from ${members} where group_id = 'together' and task_id = 'a';
      commit`);
    expect(await backend.getGroup("together")).toMatchObject({ completed: 2, failed: 0 });
    expect(await backend.completeGroupMember("together", "f", 7)).toBe(3);
  });
});

describe("TRUNCATE of kojin_groups alone, under open groups", () => {
  const database = specDatabase("truncated members");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const state = `${escapeIdentifier(database.schema)}.kojin_group_state`;

  it("leaves a group without members: it is done once as many have finished again", async () => {
    const backend = await database.open({ sweepIntervalMs: 300 });
    await backend.initGroup("numbered", 2);
    await backend.completeGroupMember("numbered", "a", 1);
    await database.sql(`truncate ${members}`);
    expect(await backend.completeGroupMember("numbered", "b", 2)).toBe(1);
    expect(await backend.getGroup("numbered")).toMatchObject({ completed: 1, done: false });
    expect(await backend.completeGroupMember("numbered", "a", 1)).toBe(2);
    expect(await backend.waitGroup("numbered", 20_000)).toEqual([1, 2]);
    const outcomes = await lastValueFrom(backend.groupMembers$("numbered").pipe(toArray()));
    expect(outcomes.map(({ taskId }) => taskId)).toEqual(["b", "a"]);
  });

  it("leaves a group whose members were named without any: it takes none, and stays open until its deadline", async () => {
    const backend = await database.open({ sweepIntervalMs: 300 });
    await backend.initGroup("named", ["a", "b"], { deadlineMs: 60_000 });
    await database.sql(`truncate ${members}`);
    await expect(backend.completeGroupMember("named", "a", 1)).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    await expect(backend.initGroup("named", ["a", "b"])).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    expect(await backend.getGroup("named")).toMatchObject({ total: 2, completed: 0, done: false });
    // As if the minute were over.
    await database.sql(`update ${state} set expires_at = clock_timestamp() where group_id = 'named'`);
    expect(await backend.getGroup("named")).toBeUndefined();
    await backend.initGroup("named", ["a", "b"]);
    expect(await backend.completeGroupMember("named", "a", 1)).toBe(1);
    expect(await backend.completeGroupMember("named", "b", 2)).toBe(2);
    expect(await backend.waitGroup("named", 20_000)).toEqual([1, 2]);
  });
});
