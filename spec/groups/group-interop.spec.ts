import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, type SpecDatabase } from "../support/spec-database";

/** What a worker of the Rust crate kojin-postgres 0.4 sends, statement by statement. */
class RustWorker {
  readonly #database: SpecDatabase;
  readonly #table: string;

  constructor(database: SpecDatabase, schema = database.schema) {
    this.#database = database;
    this.#table = `${escapeIdentifier(schema)}.kojin_groups`;
  }

  async initGroup(groupId: string, total: number): Promise<void> {
    const text = `insert into ${this.#table} (group_id, task_id, completed) values ($1, $2, false) on conflict (group_id, task_id) do nothing`;
    for (let index = 0; index < total; index += 1)
      await this.#database.sql(text, [groupId, `${groupId}:placeholder:${index}`]);
  }

  async completeGroupMember(groupId: string, taskId: string, result: unknown): Promise<number> {
    await this.#database.sql(
      `insert into ${this.#table} (group_id, task_id, result, completed) values ($1, $2, $3, true)
       on conflict (group_id, task_id) do update set result = $3, completed = true`,
      [groupId, taskId, JSON.stringify(result)],
    );
    const rows = await this.#database.sql<{ count: string }>(
      `select count(*) from ${this.#table} where group_id = $1 and completed = true and result is not null`,
      [groupId],
    );
    return Number(rows[0]?.count);
  }

  async getGroupResults(groupId: string): Promise<unknown[]> {
    const rows = await this.#database.sql<{ result: unknown }>(
      `select result from ${this.#table} where group_id = $1 and completed = true and result is not null order by task_id`,
      [groupId],
    );
    return rows.map(({ result }) => result);
  }
}

describe("groups that the Rust crate works on too", () => {
  const database = specDatabase("rust groups");
  const rust = new RustWorker(database);
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open();
    await backend.ready();
  });

  it("are initialised and completed by it alone, and streamed and awaited here", async () => {
    await rust.initGroup("rust", 3);
    expect(await backend.getGroup("rust")).toEqual({ groupId: "rust", total: 3, completed: 0, failed: 0, done: false });
    const waits = backend.waitGroup("rust", 20_000);
    const progress = lastValueFrom(backend.group$("rust").pipe(toArray()));
    const members = lastValueFrom(backend.groupMembers$("rust").pipe(toArray()));
    await eventually(() => expect(backend.stats().waitingGroups).toBe(1));
    for (const [index, value] of [{ a: 1 }, null, "three"].entries())
      expect(await rust.completeGroupMember("rust", `t${index}`, value)).toBe(index + 1);
    expect(await waits).toEqual([{ a: 1 }, null, "three"]);
    expect((await progress).at(-1)).toMatchObject({ completed: 3, done: true });
    expect((await members).map(({ taskId }) => taskId)).toEqual(["t0", "t1", "t2"]);
    expect(backend.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    expect(await backend.claimGroup("rust")).toBeDefined();
  });

  it("are completed once when both complete the same members at the same time", async () => {
    const completions: string[] = [];
    const subscription = backend.groupCompletions$().subscribe(({ groupId }) => completions.push(groupId));
    const groups = Array.from({ length: 20 }, (_, index) => `both ${index}`);
    await Promise.all(
      groups.map(async (groupId, index) =>
        index % 2 === 0 ? rust.initGroup(groupId, 4) : backend.initGroup(groupId, 4),
      ),
    );
    await Promise.all(
      groups.flatMap((groupId) =>
        ["a", "b", "c", "d"].flatMap((taskId) => [
          rust.completeGroupMember(groupId, taskId, 1),
          backend.completeGroupMember(groupId, taskId, 1),
        ]),
      ),
    );
    for (const groupId of groups) {
      expect(await backend.getGroup(groupId)).toEqual({ groupId, total: 4, completed: 4, failed: 0, done: true });
      expect(await rust.getGroupResults(groupId)).toEqual([1, 1, 1, 1]);
    }
    await eventually(() => expect(completions).toHaveLength(groups.length));
    expect([...completions].sort()).toEqual([...groups].sort());
    subscription.unsubscribe();
  });

  it("may be initialised by both, with the same total", async () => {
    await rust.initGroup("twice", 2);
    await backend.initGroup("twice", 2);
    await rust.initGroup("twice", 2);
    expect(await backend.getGroup("twice")).toMatchObject({ total: 2 });
    await expect(backend.initGroup("twice", 3)).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    await rust.initGroup("larger", 3);
    await expect(backend.initGroup("larger", 2)).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
  });

  it("lose the failure of a member when it completes that member", async () => {
    await backend.initGroup("retried", ["a", "b"]);
    await backend.failGroupMember("retried", "a", new Error("first try"));
    expect(await rust.getGroupResults("retried")).toEqual([]);
    expect(await rust.completeGroupMember("retried", "a", null)).toBe(1);
    await rust.completeGroupMember("retried", "b", 2);
    expect(await backend.getGroup("retried")).toMatchObject({ completed: 2, failed: 0, done: true });
    expect(await backend.waitGroup("retried", 20_000)).toEqual([null, 2]);
  });

  it("do not count members that were not declared", async () => {
    await backend.initGroup("declared", ["a", "b"]);
    await rust.completeGroupMember("declared", "stray", 0);
    await rust.completeGroupMember("declared", "a", 1);
    expect(await backend.getGroup("declared")).toMatchObject({ completed: 1, done: false });
    await rust.completeGroupMember("declared", "b", 2);
    expect(await backend.waitGroup("declared", 20_000)).toEqual([1, 2]);
    expect(await lastValueFrom(backend.groupMembers$("declared").pipe(toArray()))).toHaveLength(2);
  });

  it("go on with a role that has rights on the crate's tables alone", async () => {
    const role = `spec_rust_${process.pid}`;
    const schema = escapeIdentifier(database.schema);
    await database.sql(`create role ${role}`);
    await database.sql(`grant usage on schema ${schema} to ${role}`);
    await database.sql(
      `grant select, insert, update, delete on ${schema}.kojin_groups, ${schema}.kojin_results to ${role}`,
    );
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${role}`);
      await client.query(
        `insert into ${schema}.kojin_groups (group_id, task_id, completed) values ('role', 'role:placeholder:0', false)`,
      );
      await client.query(
        `insert into ${schema}.kojin_groups (group_id, task_id, result, completed) values ('role', 't', '1', true)`,
      );
      await client.query(`insert into ${schema}.kojin_results (task_id, result) values ('role', '1')`);
      await client.query("reset role");
      expect(await backend.waitGroup("role", 20_000)).toEqual([1]);
      expect(await backend.wait("role", 20_000)).toBe(1);
    } finally {
      client.release(true);
      await database.sql(`drop owned by ${role}`);
      await database.sql(`drop role ${role}`);
    }
  });
});

describe("a database that the Rust crate has used", () => {
  const database = specDatabase("rust adoption", { migrated: false });

  it("is adopted with its groups: those that are done, those under way, and nothing is lost", async () => {
    const name = escapeIdentifier(database.schema);
    await database.sql(`create schema ${name}`);
    await database.sql(
      `create table ${name}.kojin_groups (group_id text not null, task_id text not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    const rust = new RustWorker(database);
    await rust.initGroup("done", 2);
    await rust.completeGroupMember("done", "a", 1);
    await rust.completeGroupMember("done", "b", null);
    await rust.initGroup("under way", 3);
    await rust.completeGroupMember("under way", "a", "first");

    const backend = await database.open();
    await backend.migrate();
    expect(await backend.getGroup("done")).toEqual({ groupId: "done", total: 2, completed: 2, failed: 0, done: true });
    expect(await backend.getGroupResults("done")).toEqual([1, null]);
    expect(await backend.getGroup("under way")).toEqual({
      groupId: "under way",
      total: 3,
      completed: 1,
      failed: 0,
      done: false,
    });
    await backend.ready();
    const members = lastValueFrom(backend.groupMembers$("under way").pipe(toArray()));
    await rust.completeGroupMember("under way", "b", "second");
    expect(await backend.completeGroupMember("under way", "c", "third")).toBe(3);
    expect((await members).map(({ taskId }) => taskId)).toEqual(["a", "b", "c"]);
    expect(await backend.waitGroup("under way", 20_000)).toEqual(["first", "second", "third"]);
  });
});
