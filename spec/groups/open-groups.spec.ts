import { escapeIdentifier } from "pg";
import { specDatabase } from "../support/spec-database";

describe("openGroups", () => {
  const database = specDatabase("open groups");
  const schema = escapeIdentifier(database.schema);

  afterEach(async () => {
    await database.sql(`truncate ${schema}.kojin_groups, ${schema}.kojin_group_state`);
  });

  it("gives the groups that are not done, by id, as far as they are", async () => {
    const backend = await database.open();
    await backend.initGroup("b", 3);
    await backend.initGroup("a", ["x", "y"]);
    await backend.initGroup("done", 1);
    await backend.completeGroupMember("a", "x", 1);
    await backend.failGroupMember("b", "t", new Error("no"));
    await backend.completeGroupMember("done", "t", 1);
    // The size of this one is not known yet.
    await backend.completeGroupMember("unsized", "t", 1);
    expect(await backend.openGroups()).toEqual([
      { groupId: "a", total: 2, completed: 1, failed: 0, done: false },
      { groupId: "b", total: 3, completed: 0, failed: 1, done: false },
      { groupId: "unsized", total: null, completed: 1, failed: 0, done: false },
    ]);
  });

  it("gives no more than it is asked for, the first by id", async () => {
    const backend = await database.open();
    for (const groupId of ["c", "b", "a"]) await backend.initGroup(groupId, 1);
    expect((await backend.openGroups({ limit: 2 })).map(({ groupId }) => groupId)).toEqual(["a", "b"]);
  });

  it("leaves out what has passed its deadline, and what nothing is known of", async () => {
    const backend = await database.open();
    await backend.initGroup("late", 1, { deadlineMs: 60_000 });
    await backend.initGroup("in time", 1, { deadlineMs: 60_000 });
    await database.sql(
      `update ${schema}.kojin_group_state set expires_at = clock_timestamp() - interval '1 second' where group_id = 'late'`,
    );
    await database.sql(`insert into ${schema}.kojin_group_state (group_id) values ('nothing known')`);
    expect((await backend.openGroups()).map(({ groupId }) => groupId)).toEqual(["in time"]);
  });

  it("refuses a limit that is none before it asks the database, and a schema that is not migrated afterwards", async () => {
    const backend = await database.open();
    await expect(backend.openGroups({ limit: 0 })).rejects.toBeInstanceOf(RangeError);
    await expect(backend.openGroups({ limit: 10_001 })).rejects.toBeInstanceOf(RangeError);
    await expect(backend.openGroups({ limit: "1" as unknown as number })).rejects.toBeInstanceOf(TypeError);
    expect(backend.stats().queries).toBe(1);
    database.createSchema(`${database.schema} bare`);
    const bare = await database.open({ schema: `${database.schema} bare` });
    await expect(bare.openGroups()).rejects.toMatchObject({ name: "SchemaError" });
    await backend.close();
    await expect(backend.openGroups()).rejects.toMatchObject({ code: "BACKEND_CLOSED" });
  });
});
