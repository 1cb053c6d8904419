import { readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";

const tables = ["kojin_results", "kojin_groups", "kojin_group_state"] as const;

describe("a schema that is copied into another, row by row of its tables", () => {
  const database = specDatabase("copied schema");
  const from = escapeIdentifier(database.schema);
  let counter = 0;
  let original: PostgresResultBackend;

  async function newSchema(): Promise<{ backend: PostgresResultBackend; name: string }> {
    counter += 1;
    const schema = `${database.schema} copy ${counter}`;
    database.createSchema(schema);
    const backend = await database.open({ schema });
    await backend.migrate();
    return { backend, name: escapeIdentifier(schema) };
  }

  beforeEach(async () => {
    original = await database.open();
    for (const table of tables) await database.sql(`truncate ${from}.${table}`);
    await original.store("task", { a: 1 });
    await original.initGroup("open", 5);
    for (const id of ["a", "b", "c"]) await original.completeGroupMember("open", id, id);
    await original.initGroup("declared", ["x", "y", "z"], { deadlineMs: 3_600_000 });
    await original.completeGroupMember("declared", "y", "y");
    await original.failGroupMember("declared", "x", new Error("no"));
    await original.initGroup("done", 2);
    for (const id of ["a", "b"]) await original.completeGroupMember("done", id, id);
    await original.initGroup("claimed", 1);
    await original.completeGroupMember("claimed", "a", 1);
    await (await original.claimGroup("claimed"))?.ack();
    await original.completeGroupMember("unknown size", "a", 1);
    const groups = `insert into ${from}.kojin_groups (group_id, task_id, result, completed)`;
    for (const index of [0, 1, 2])
      await database.sql(`${groups} values ('crate', 'crate:placeholder:' || $1, null, false)`, [index]);
    await database.sql(`${groups} values ('crate', 'a', '1', true)`);
  });

  const ids = ["open", "declared", "done", "claimed", "unknown size", "crate"];

  async function expectSameGroups(copy: PostgresResultBackend): Promise<void> {
    for (const id of ids) expect(await copy.getGroup(id)).toEqual(await original.getGroup(id));
    expect(await copy.get("task")).toEqual({ a: 1 });
    expect(await copy.claimGroup("claimed")).toBeUndefined();
    // What is done stays done, and what is open goes on.
    expect(await copy.getGroupResults("done")).toEqual(["a", "b"]);
    expect(await copy.completeGroupMember("open", "d", "d")).toBe(4);
    expect(await copy.completeGroupMember("open", "e", "e")).toBe(5);
    expect(await copy.waitGroup("open", 20_000)).toEqual(["a", "b", "c", "d", "e"]);
    await expect(copy.initGroup("declared", ["x", "y"])).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    expect(await copy.completeGroupMember("declared", "z", "z")).toBe(2);
    expect(await copy.getGroup("declared")).toMatchObject({ total: 3, completed: 2, failed: 1, done: true });
  }

  it.each([
    ["groups before their members", ["kojin_results", "kojin_group_state", "kojin_groups"]],
    ["members before their groups", ["kojin_groups", "kojin_group_state", "kojin_results"]],
  ])("has the same groups, with %s", async (_order, order) => {
    const { backend, name } = await newSchema();
    for (const table of order) await database.sql(`insert into ${name}.${table} select * from ${from}.${table}`);
    await expectSameGroups(backend);
  });

  it.each([
    ["groups before their members", ["kojin_group_state", "kojin_groups"]],
    ["members before their groups", ["kojin_groups", "kojin_group_state"]],
  ])("has the same groups where rows come one by one, %s", async (_order, order) => {
    const { backend, name } = await newSchema();
    await database.sql(`insert into ${name}.kojin_results select * from ${from}.kojin_results`);
    for (const table of order)
      await database.sql(
        `do $do$ declare source record; begin
           for source in select * from ${from}.${table} loop
             insert into ${name}.${table} select (source).*;
           end loop;
         end $do$`.replace(
          "select (source).*",
          `select (jsonb_populate_record(null::${name}.${table}, to_jsonb(source))).*`,
        ),
      );
    await expectSameGroups(backend);
  });

  it("has the same groups after the script of docs/operations.md and a recount", async () => {
    const { backend, name } = await newSchema();
    const page = readFileSync(join(__dirname, "..", "..", "docs", "operations.md"), "utf8");
    const script = /## Copying or moving a schema\n[^]*?```sql\n([^]*?)```/.exec(page)?.[1] ?? "";
    expect(script).toContain("lock table");
    await database.sql(script.replaceAll("old_schema", from).replaceAll("new_schema", name));
    await backend.migrate({ recount: true });
    await expectSameGroups(backend);
  });

  it("numbers members that finish later beyond those that were copied, after a recount", async () => {
    const { backend, name } = await newSchema();
    for (const table of tables) await database.sql(`insert into ${name}.${table} select * from ${from}.${table}`);
    await backend.migrate({ recount: true });
    await expectSameGroups(backend);
    const [row] = await database.sql(
      `select task_id from ${name}.kojin_groups where group_id = 'open' order by finished_seq desc limit 1`,
    );
    expect(row).toEqual({ task_id: "e" });
  });
});
