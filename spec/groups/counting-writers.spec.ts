import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, escapeIdentifier } from "pg";
import { firstValueFrom, toArray } from "rxjs";
import { GroupConflictError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

/** Takes a fresh schema, migrated without triggers. */
function countingDatabase(name: string): ReturnType<typeof specDatabase> {
  const database = specDatabase(name, { migrated: false });
  beforeAll(async () => {
    const backend = await database.open();
    await backend.migrate({ triggers: false });
    await backend.close();
  });
  return database;
}

interface Told {
  readonly groupId: string;
  readonly taskId: string;
  readonly completed: number;
}

describe("groups in a schema without triggers", () => {
  const database = countingDatabase("counting writers");
  const name = escapeIdentifier(database.schema);
  const children: ChildProcess[] = [];
  afterAll(() => children.forEach((child) => child.kill("SIGKILL")));

  async function completeElsewhere(share: readonly Omit<Told, "completed">[]): Promise<Told[]> {
    const child = fork(join(__dirname, "..", "fixtures", "completes.ts"), {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    children.push(child);
    const exited = once(child, "exit");
    child.send(share);
    const [answers] = (await once(child, "message")) as [Told[]];
    await exited;
    return answers;
  }

  it("tell one caller the total, over four processes that send every member twice", async () => {
    const [backend, groups, size] = [await database.open(), 100, 8];
    await backend.ready();
    for (let group = 0; group < groups; group += 1) await backend.initGroup(`g ${group}`, size);
    const waits = Array.from({ length: groups }, async (_, group) => backend.waitGroup(`g ${group}`, 30_000));
    const members = Array.from({ length: groups * size * 2 }, (_, index) => ({
      groupId: `g ${index % groups}`,
      taskId: `t ${Math.floor(index / groups) % size}`,
    })).sort(() => Math.random() - 0.5);
    const told = await Promise.all(
      [0, 1, 2, 3].map(async (part) => completeElsewhere(members.filter((_, index) => index % 4 === part))),
    );
    for (let group = 0; group < groups; group += 1) {
      const numbers = told.flat().filter(({ groupId }) => groupId === `g ${group}`);
      expect(new Set(numbers.map(({ completed }) => completed))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
      expect(await backend.getGroup(`g ${group}`)).toMatchObject({ completed: size, failed: 0, done: true });
    }
    expect((await Promise.all(waits)).every((results) => results.length === size)).toBe(true);
    expect(backend.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    const [row] = await database.sql(
      `select count(*)::int as rows, count(distinct (group_id, finished_seq))::int as places, min(finished_seq)::int as first, max(finished_seq)::int as last from ${name}.kojin_groups`,
    );
    expect(row).toEqual({ rows: groups * size, places: groups * size, first: 1, last: size });
  });

  it("stream each member once, and those that fail and then succeed", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const members = firstValueFrom(watching.groupMembers$("streamed").pipe(toArray()));
    await storing.initGroup("streamed", ["a", "b", "c"]);
    await storing.failGroupMember("streamed", "a", new Error("no"));
    await storing.completeGroupMember("streamed", "b", 2);
    expect(await storing.completeGroupMember("streamed", "a", 1)).toBe(2);
    await storing.failGroupMember("streamed", "b", new Error("too late"));
    await expect(storing.completeGroupMember("streamed", "d", 4)).rejects.toBeInstanceOf(GroupConflictError);
    expect(await storing.completeGroupMember("streamed", "c", 3)).toBe(3);
    expect((await members).map(({ taskId }) => taskId).sort()).toEqual(["a", "b", "c"]);
    expect(await watching.waitGroup("streamed", 5_000)).toEqual([1, 2, 3]);
  });

  it("start anew when they have expired", async () => {
    const backend = await database.open();
    await backend.initGroup("short", ["a"], { ttlMs: 1 });
    await backend.completeGroupMember("short", "a", 1);
    await backend.initGroup("late", 2, { deadlineMs: 1 });
    for (const groupId of ["short", "late"])
      await eventually(async () => expect(await backend.getGroup(groupId)).toBeUndefined());
    expect(await backend.completeGroupMember("short", "b", 2)).toBe(1);
    await backend.initGroup("late", 1);
    expect(await backend.completeGroupMember("late", "x", 3)).toBe(1);
    expect(await backend.getGroup("short")).toMatchObject({ total: null, completed: 1, done: false });
    expect([await backend.getGroupResults("short"), await backend.waitGroup("late", 0)]).toEqual([[2], [3]]);
  });

  it("are given to one of those who claim them, also in a caller's transaction", async () => {
    const backend = await database.open();
    await backend.initGroup("claimed", 0);
    const client = await database.pool.connect();
    await client.query("begin");
    expect(await backend.claimGroup("claimed", { client })).toBeDefined();
    const others = Promise.all([1, 2, 3].map(async () => backend.claimGroup("claimed")));
    await client.query("commit");
    client.release();
    expect(await others).toEqual([undefined, undefined, undefined]);
  });

  it("need the rights that docs/without-triggers.md gives, and no others", async () => {
    const [owner, role] = [await database.open(), `spec_counting_${process.pid}`];
    const text = readFileSync(join(__dirname, "..", "..", "docs", "without-triggers.md"), "utf8");
    const [, grants = ""] = /```sql\n(.*?)```/s.exec(text) ?? [];
    expect(grants).toContain("to worker;");
    await database.sql(`create role ${role} login password 'x'`);
    try {
      await database.sql(`grant usage on schema ${name} to ${role}`);
      await database.sql(grants.replaceAll(" on kojin", ` on ${name}.kojin`).replaceAll("worker", role));
      const url = new URL(database.url);
      [url.username, url.password] = [role, "x"];
      const worker = await database.open({}, url.href);
      await worker.initGroup("granted", ["a", "b"], { ttlMs: 1 });
      await worker.failGroupMember("granted", "a", new Error("no"));
      expect(await worker.completeGroupMember("granted", "b", 1)).toBe(1);
      await eventually(async () => expect(await owner.getGroup("granted")).toBeUndefined());
      expect(await worker.completeGroupMember("granted", "c", 1)).toBe(1);
      await worker.close();
    } finally {
      await database.sql(`drop owned by ${role}`);
      await database.sql(`drop role ${role}`);
    }
  });

  it("that only look at the schema's record when first used count right from the first call on", async () => {
    const backends = await Promise.all(Array.from({ length: 4 }, async () => database.open()));
    const told = await Promise.all(
      backends.map(async (each, index) => each.completeGroupMember("first", `${index}`, 1)),
    );
    expect(told.sort()).toEqual([1, 2, 3, 4]);
  });
});

describe("groups written with a client of the caller's, in a schema without triggers", () => {
  const database = countingDatabase("callers");
  const sessions: Client[] = [];
  const connect = async (): Promise<Client> => {
    const client = new Client({ connectionString: process.env["DATABASE_URL"] });
    sessions.push(client);
    await client.connect();
    return client;
  };
  afterEach(async () => {
    for (const client of sessions.splice(0)) await client.end();
  });

  it.each<[string, boolean]>([
    ["before the backend has looked at the schema", false],
    ["after that", true],
  ])("happen with its transaction, or not at all, %s", async (title, isKnown) => {
    const [backend, client] = [await database.open(), await connect()];
    if (isKnown) await backend.get("anything");
    const groupId = `with ${title}`;
    for (const end of ["rollback", "commit"]) {
      await client.query("begin");
      await backend.initGroup(groupId, ["a", "b"], { client });
      expect(await backend.completeGroupMember(groupId, "a", 1, { client })).toBe(1);
      expect(await backend.failGroupMember(groupId, "b", new Error("no"), { client })).toBe(1);
      await expect(backend.completeGroupMember(groupId, "c", 1, { client })).rejects.toBeInstanceOf(GroupConflictError);
      expect(await backend.getGroup(groupId)).toBeUndefined();
      await client.query(end);
    }
    expect(await backend.getGroup(groupId)).toMatchObject({ completed: 1, failed: 1, done: true });
  });

  it("are each a transaction of their own where it is in none, and leave it in none", async () => {
    const [backend, client] = [await database.open(), await connect()];
    await backend.initGroup("auto", 2, { client });
    expect(await backend.completeGroupMember("auto", "a", 1, { client })).toBe(1);
    expect(await (await database.open()).getGroup("auto")).toMatchObject({ total: 2, completed: 1 });
    const broken = {
      query: async (text: string, values: unknown[]) => client.query(text.replace("update", "broken"), values),
    };
    await expect(backend.completeGroupMember("auto", "b", 1, { client: broken })).rejects.toMatchObject({
      code: "DATABASE",
    });
    expect(await backend.getGroupResults("auto")).toEqual([1]);
    expect(client.getTransactionStatus()).toBe("I");
    expect(await backend.completeGroupMember("auto", "b", 2, { client: database.pool })).toBe(2);
  });

  it("serialize where its transactions do, rather than count wrongly", async () => {
    const [backend, one, other] = [await database.open(), await connect(), await connect()];
    await backend.initGroup("strict", 2);
    for (const client of [one, other]) {
      await client.query("begin isolation level repeatable read");
      await client.query("select 1");
    }
    expect(await backend.completeGroupMember("strict", "a", 1, { client: one })).toBe(1);
    await one.query("commit");
    await expect(backend.completeGroupMember("strict", "b", 1, { client: other })).rejects.toMatchObject({
      sqlState: "40001",
      transient: true,
    });
    await other.query("rollback");
    expect(await backend.completeGroupMember("strict", "b", 2)).toBe(2);
  });
});
