import { escapeIdentifier } from "pg";
import { lastValueFrom, map, toArray } from "rxjs";
import type { GroupProgress, PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { itSincePostgres } from "../support/where";

describe("members that others change with SQL", () => {
  const database = specDatabase("foreign changes");
  const schema = escapeIdentifier(database.schema);
  const [members, states] = [`${schema}.kojin_groups`, `${schema}.kojin_group_state`];
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open();
    await backend.ready();
  });

  const counts = async (groupId: string): Promise<unknown> => {
    const progress = await backend.getGroup(groupId);
    return progress && [progress.total, progress.completed, progress.failed, progress.done];
  };

  it("are not counted once they are deleted, and their group is open again", async () => {
    await backend.initGroup("deleted", 2);
    await backend.completeGroupMember("deleted", "a", 1);
    await backend.failGroupMember("deleted", "b", new Error("no"));
    expect(await counts("deleted")).toEqual([2, 1, 1, true]);
    await database.sql(`delete from ${members} where group_id = 'deleted' and task_id = 'b'`);
    expect(await counts("deleted")).toEqual([2, 1, 0, false]);
    expect(await backend.claimGroup("deleted")).toBeUndefined();
    await database.sql(`delete from ${members} where group_id = 'deleted'`);
    expect(await counts("deleted")).toEqual([2, 0, 0, false]);
    expect(await backend.completeGroupMember("deleted", "a", 3)).toBe(1);
    expect(await backend.completeGroupMember("deleted", "b", 4)).toBe(2);
    expect(await backend.waitGroup("deleted", 20_000)).toEqual([3, 4]);
    expect(await backend.claimGroup("deleted")).toBeDefined();
  });

  it("leave a group done that is claimed, for as long as it was to be kept", async () => {
    await backend.initGroup("claimed", ["a", "b"], { ttlMs: 60_000 });
    for (const taskId of ["a", "b"]) await backend.completeGroupMember("claimed", taskId, taskId);
    expect(await backend.claimGroup("claimed")).toBeDefined();
    await database.sql(`delete from ${members} where group_id = 'claimed' and task_id = 'a'`);
    expect(await counts("claimed")).toEqual([2, 1, 0, true]);
    expect(await backend.waitGroup("claimed", 20_000)).toEqual(["b"]);
    const [row] = await database.sql(
      `select expires_at is not null as expires from ${states} where group_id = 'claimed'`,
    );
    expect(row).toEqual({ expires: true });
  });

  it("are not counted once they are truncated, in any group", async () => {
    await backend.initGroup("numbered", 2);
    await backend.initGroup("none", 0);
    await backend.completeGroupMember("numbered", "a", 1);
    await database.sql(
      `insert into ${members} (group_id, task_id, result, completed) values ('unknown', 'a', '1', true)`,
    );
    const progress: GroupProgress[] = [];
    const subscription = backend.group$("numbered").subscribe((each) => progress.push(each));
    await eventually(() => expect(progress).toMatchObject([{ completed: 1 }]));
    await database.sql(`truncate ${members}`);
    expect(await counts("numbered")).toEqual([2, 0, 0, false]);
    expect(await counts("none")).toEqual([0, 0, 0, true]);
    expect(await backend.getGroup("unknown")).toBeUndefined();
    await eventually(() => expect(progress).toMatchObject([{ completed: 1 }, { completed: 0 }]));
    subscription.unsubscribe();
  });

  it.each(["delete from", "truncate"])(
    "tell what they can of their groups where the states are lost by %s",
    async (verb) => {
      await backend.initGroup("declared", ["a", "b"]);
      await backend.initGroup("finished", ["a"]);
      await backend.completeGroupMember("declared", "a", 1);
      await backend.completeGroupMember("finished", "a", 2);
      await backend.completeGroupMember("undeclared", "a", 3);
      await database.sql(`${verb} ${states}`);
      expect(await counts("declared")).toEqual([2, 1, 0, false]);
      expect(await counts("finished")).toEqual([1, 1, 0, true]);
      expect(await counts("undeclared")).toEqual([null, 1, 0, false]);
      expect(await backend.waitGroup("finished", 20_000)).toEqual([2]);
      await backend.initGroup("undeclared", 1);
      expect(await counts("undeclared")).toEqual([1, 1, 0, true]);
      await database.sql(`truncate ${members}, ${states}`);
      expect(await database.sql(`select from ${states}`)).toEqual([]);
    },
  );

  const both = [members, states];
  it.each([
    ["delete from", both],
    ["delete from", both.toReversed()],
    ["truncate", both],
    ["truncate", both.toReversed()],
  ])("leave nothing behind where %s is run on %j", async (verb, tables) => {
    await database.sql(`truncate ${members}, ${states}`);
    await backend.initGroup("declared", ["a", "b"]);
    await backend.completeGroupMember("declared", "a", 1);
    await backend.initGroup("open", ["a", "b"]);
    await backend.initGroup("numbered", 2);
    await backend.completeGroupMember("numbered", "a", 1);
    await backend.completeGroupMember("undeclared", "a", 1);
    await database.sql(
      `insert into ${members} (group_id, task_id, completed) values ('crate', 'crate:placeholder:0', false)`,
    );
    for (const table of tables) await database.sql(`${verb} ${table}`);
    expect(await database.sql(`select group_id from ${states}`)).toEqual([]);
    expect(await counts("declared")).toBeUndefined();
    await backend.initGroup("declared", ["c"]);
    expect(await backend.completeGroupMember("declared", "c", 1)).toBe(1);
  });

  it("keep their restored group until the last of them is deleted, and its time to live once it is declared again", async () => {
    await backend.initGroup("restored", ["a", "b"], { ttlMs: 1_000 });
    await backend.completeGroupMember("restored", "a", 1);
    await database.sql(`delete from ${states} where group_id = 'restored'`);
    await database.sql(`delete from ${members} where group_id = 'restored' and task_id = 'a'`);
    expect(await counts("restored")).toEqual([2, 0, 0, false]);
    await database.sql(`delete from ${members} where group_id = 'restored'`);
    expect(await counts("restored")).toBeUndefined();
    await backend.initGroup("restored", ["a", "b"]);
    await database.sql(`delete from ${states} where group_id = 'restored'`);
    await backend.initGroup("restored", ["a", "b"], { ttlMs: 7_000, deadlineMs: 60_000 });
    await database.sql(`delete from ${members} where group_id = 'restored'`);
    expect(await counts("restored")).toEqual([2, 0, 0, false]);
    expect(await database.sql(`select ttl_ms, deadline_ms from ${states} where group_id = 'restored'`)).toEqual([
      { ttl_ms: 7_000, deadline_ms: 60_000 },
    ]);
  });

  it("are followed when they move to another group, or get another id", async () => {
    await backend.initGroup("from", 2);
    await backend.initGroup("to", 2);
    for (const taskId of ["a", "b"]) await backend.completeGroupMember("from", taskId, taskId);
    await backend.completeGroupMember("to", "c", "c");
    const streamed = lastValueFrom(
      backend.groupMembers$("to").pipe(
        map(({ taskId }) => taskId),
        toArray(),
      ),
    );
    await database.sql(`update ${members} set group_id = 'to' where group_id = 'from' and task_id = 'b'`);
    expect(await counts("from")).toEqual([2, 1, 0, false]);
    expect(await counts("to")).toEqual([2, 2, 0, true]);
    expect(await streamed).toEqual(["c", "b"]);
    await database.sql(`update ${members} set task_id = 'z' where group_id = 'from' and task_id = 'a'`);
    expect(await backend.completeGroupMember("from", "a", "anew")).toBe(2);
    expect(await backend.waitGroup("from", 20_000)).toEqual(["anew", "a"]);
  });

  it("are open again when they are set back", async () => {
    await backend.initGroup("back", ["a"]);
    await backend.completeGroupMember("back", "a", 1);
    await database.sql(`update ${members} set completed = false, result = null where group_id = 'back'`);
    expect(await counts("back")).toEqual([1, 0, 0, false]);
    expect(await backend.completeGroupMember("back", "a", 2)).toBe(1);
    expect(await backend.waitGroup("back", 20_000)).toEqual([2]);
  });

  itSincePostgres(15, "MERGE")("are counted when MERGE writes them", async () => {
    await backend.initGroup("merged", 3);
    await backend.completeGroupMember("merged", "a", 1);
    await backend.completeGroupMember("merged", "b", 1);
    await database.sql(
      `merge into ${members} as member using (values ('a', true), ('b', false), ('c', true)) as given (task_id, kept)
       on member.group_id = 'merged' and member.task_id = given.task_id
       when matched and not kept then delete
       when matched then update set result = '2'
       when not matched then insert (group_id, task_id, result, completed) values ('merged', given.task_id, '3', true)`,
    );
    expect(await counts("merged")).toEqual([3, 2, 0, false]);
    expect(await backend.getGroupResults("merged")).toEqual([2, 3]);
  });

  it.each([
    [
      "of a member",
      "insert into MEMBERS (group_id, task_id, result, completed) values ('both', 'b', '1', true)",
      [null, 1],
    ],
    [
      "of a placeholder",
      "insert into MEMBERS (group_id, task_id, completed) values ('both', 'both:placeholder:0', false)",
      [1, 0],
    ],
    ["that moves a member here", "update MEMBERS set group_id = 'both' where group_id = 'other'", [null, 1]],
  ])(
    "are counted once where one statement deletes the last one and writes another: a write %s",
    async (_, write, expected) => {
      await database.sql(`truncate ${members}, ${states}`);
      await backend.completeGroupMember("both", "a", 1);
      await backend.completeGroupMember("other", "c", 1);
      await database.sql(
        `with written as (${write.replace("MEMBERS", members)}), deleted as (delete from ${members} where group_id = 'both') select`,
      );
      expect(await counts("both")).toEqual([...expected, 0, false]);
      await database.sql(
        `with lost as (delete from ${states}),
       written as (insert into ${members} (group_id, task_id, result, completed) values ('both', 'd', '1', true)) select`,
      );
      const [total, completed] = expected;
      expect(await backend.getGroup("both")).toMatchObject({ total, completed: Number(completed) + 1, failed: 0 });
    },
  );

  it("are counted when rows come that bring their numbers with them, in groups without a state", async () => {
    await database.sql(
      `insert into ${members} (group_id, task_id, result, completed, position, finished_seq)
       values ('copied', 'a', '1', true, 2, 1), ('copied', 'b', null, false, 1, null)`,
    );
    expect(await counts("copied")).toEqual([2, 1, 0, false]);
    expect(await backend.completeGroupMember("copied", "b", 2)).toBe(2);
    expect(await backend.waitGroup("copied", 20_000)).toEqual([2, 1]);
  });
});

describe("a group that has expired, and that the Rust crate uses again", () => {
  const database = specDatabase("expired and used again");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const place = `insert into ${members} (group_id, task_id, completed) values ($1, $1 || ':placeholder:' || $2, false) on conflict do nothing`;
  const complete = `insert into ${members} (group_id, task_id, result, completed) values ($1, $2, $3, true)
    on conflict (group_id, task_id) do update set result = $3, completed = true`;

  const expire = async (groupId: string): Promise<unknown> =>
    database.sql(
      `update ${escapeIdentifier(database.schema)}.kojin_group_state set expires_at = clock_timestamp() where group_id = $1`,
      [groupId],
    );

  it.each([
    ["that was done", 1],
    ["that was open at its deadline", 2],
  ])("begins anew %s, also with the ids that it had", async (what, total) => {
    const backend = await database.open();
    await backend.initGroup(what, total, { ttlMs: 60_000, deadlineMs: 60_000 });
    await backend.completeGroupMember(what, "a", "old");
    await expire(what);
    expect(await backend.getGroup(what)).toBeUndefined();
    for (const index of [0, 1]) await database.sql(place, [what, String(index)]);
    expect(await backend.getGroup(what)).toMatchObject({ total: 2, completed: 0, done: false });
    for (const taskId of ["a", "b"]) await database.sql(complete, [what, taskId, '"new"']);
    expect(await backend.waitGroup(what, 10_000)).toEqual(["new", "new"]);
    expect((await backend.prune()).groups).toBe(0);
    expect(await backend.getGroupResults(what)).toEqual(["new", "new"]);
    expect(await database.sql(`select from ${members} where group_id = $1`, [what])).toHaveLength(4);
  });

  it("is not done by members that were written after its deadline", async () => {
    const backend = await database.open();
    await backend.ready();
    const seen: string[] = [];
    const subscription = backend.groupCompletions$().subscribe(({ groupId }) => seen.push(groupId));
    await backend.initGroup("late", 1, { deadlineMs: 60_000 });
    await database.sql(`insert into ${members} (group_id, task_id, completed) values ('late', 'a', false)`);
    await expire("late");
    await database.sql(
      `update ${members} set result = '1', completed = true where group_id = 'late' and task_id = 'a'`,
    );
    await backend.initGroup("marker", 0);
    await eventually(() => expect(seen).toContain("marker"));
    expect(seen).toEqual(["marker"]);
    expect(await backend.getGroup("late")).toBeUndefined();
    expect(await backend.claimGroup("late")).toBeUndefined();
    subscription.unsubscribe();
  });

  it("keeps the members that come while prune waits for its lock, with a state", async () => {
    const backend = await database.open();
    await backend.prune();
    await backend.initGroup("pruned", 1, { ttlMs: 1 });
    await backend.completeGroupMember("pruned", "old", 1);
    await eventually(async () => expect(await backend.getGroup("pruned")).toBeUndefined());
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(complete, ["pruned", "new", "2"]);
    // It has begun anew, in a transaction that has not been committed: prune leaves it alone.
    expect((await backend.prune()).groups).toBe(0);
    await client.query("commit");
    client.release();
    expect((await backend.prune()).groups).toBe(0);
    expect(await backend.getGroup("pruned")).toMatchObject({ total: null, completed: 1 });
    expect(await backend.getGroupResults("pruned")).toEqual([2]);
  });
});

describe("a group that the Rust crate declares row by row", () => {
  const database = specDatabase("row by row");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const place = async (groupId: string, index: number): Promise<unknown> =>
    database.sql(
      `insert into ${members} (group_id, task_id, completed) values ($1, $1 || ':placeholder:' || $2, false)`,
      [groupId, String(index)],
    );
  const complete = async (groupId: string, taskId: string): Promise<unknown> =>
    database.sql(`insert into ${members} (group_id, task_id, result, completed) values ($1, $2, '1', true)`, [
      groupId,
      taskId,
    ]);

  it.each(["before", "during"])(
    "is announced and claimed once, at its end, when members finish %s that",
    async (when) => {
      const backend = await database.open();
      await backend.ready();
      const groupId = `early ${when}`;
      const announced: GroupProgress[] = [];
      const subscription = backend.groupCompletions$().subscribe((progress) => announced.push(progress));
      const waits = backend.waitGroup(groupId, 20_000);
      if (when === "before") await complete(groupId, "a");
      await place(groupId, 0);
      if (when === "during") await complete(groupId, "a");
      expect(await backend.claimGroup(groupId)).toBeUndefined();
      expect(await backend.unclaimedGroups()).toEqual([]);
      expect(await backend.openGroups()).toMatchObject([{ groupId, total: 1, completed: 1, done: false }]);
      for (const index of [1, 2]) await place(groupId, index);
      for (const taskId of ["b", "c"]) await complete(groupId, taskId);
      expect(await waits).toEqual([1, 1, 1]);
      await eventually(() => expect(announced).toHaveLength(1));
      expect(announced).toEqual([{ groupId, total: 3, completed: 3, failed: 0, done: true }]);
      expect(await backend.claimGroup(groupId)).toBeDefined();
      subscription.unsubscribe();
    },
  );

  it("is done when the declaration ends with its last row, without anything being written", async () => {
    const backend = await database.open();
    await backend.ready();
    const [progress, members$] = [backend.group$("ended"), backend.groupMembers$("ended")].map(async (each$) =>
      lastValueFrom<unknown>(each$),
    );
    await complete("ended", "a");
    await place("ended", 0);
    // Members that finish first say that the declaration is late: until it is certain, it is not done.
    expect(await backend.getGroup("ended")).toMatchObject({ total: 1, completed: 1, done: false });
    expect(await progress).toMatchObject({ total: 1, completed: 1, done: true });
    expect(await members$).toMatchObject({ taskId: "a" });
    expect(await backend.getGroup("ended")).toMatchObject({ done: true });
    expect(backend.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });

  it("is certain when initGroup says its size", async () => {
    const backend = await database.open();
    await complete("sized", "a");
    await place("sized", 0);
    await backend.initGroup("sized", 1);
    expect(await backend.waitGroup("sized", 0)).toEqual([1]);
    expect(await backend.claimGroup("sized")).toBeDefined();
  });
});

describe("tables of the Rust crate with other types of text", () => {
  const database = specDatabase("varchar columns", { migrated: false });

  it("are adopted, and their groups counted, declared and completed", async () => {
    const name = escapeIdentifier(database.schema);
    await database.sql(`create schema ${name}`);
    await database.sql(
      `create table ${name}.kojin_groups (group_id varchar(255) not null, task_id varchar(255) not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    await database.sql(
      `insert into ${name}.kojin_groups values ('old', 'old:placeholder:0', null, false), ('old', 'old:placeholder:1', null, false), ('old', 'a', '1', true)`,
    );
    const backend = await database.open();
    await backend.migrate();
    expect(await backend.getGroup("old")).toMatchObject({ total: 2, completed: 1 });
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('old', 'b', '2', true)`,
    );
    expect(await backend.waitGroup("old", 10_000)).toEqual([1, 2]);
    await backend.initGroup("new", ["b", "a"]);
    await backend.initGroup("new", ["b", "a"]);
    await expect(backend.initGroup("new", ["a", "b"])).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    expect(await backend.completeGroupMember("new", "a", 1)).toBe(1);
    await database.sql(
      `update ${name}.kojin_groups set result = '2', completed = true where group_id = 'new' and task_id = 'b'`,
    );
    expect(await backend.waitGroup("new", 20_000)).toEqual([2, 1]);
    await database.sql(`delete from ${name}.kojin_groups where group_id = 'new' and task_id = 'a'`);
    expect(await backend.getGroup("new")).toMatchObject({ completed: 1, done: false });
  });
});
