import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import type { GroupProgress } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";

/** What waits for the lock of a group. */
const ourStatement = "kojin_finish_members";

interface Told {
  readonly groupId: string;
  readonly taskId: string;
  readonly completed: number;
}

describe("counting members of groups", () => {
  const database = specDatabase("counting");
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;

  /** Has members completed by processes of their own, in a random order, and gives what each call was told. */
  async function completeElsewhere(
    processes: number,
    work: readonly { groupId: string; taskId: string }[],
  ): Promise<Told[]> {
    const shuffled = [...work].sort(() => Math.random() - 0.5);
    const shares = Array.from({ length: processes }, (_, index) =>
      shuffled.filter((_each, place) => place % processes === index),
    );
    const told = await Promise.all(
      shares.map(async (share) => {
        const child = fork(join(__dirname, "..", "fixtures", "completes.ts"), {
          execArgv: ["--import", "tsx"],
          env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: database.schema },
          stdio: ["ignore", "ignore", "inherit", "ipc"],
        });
        const exited = once(child, "exit");
        child.send(share);
        const answers = await messageOf<Told[]>(child);
        await exited;
        return answers;
      }),
    );
    return told.flat();
  }

  const named = (prefix: string, groups: number, size: number): { groupId: string; taskId: string }[] =>
    Array.from({ length: groups * size }, (_, index) => ({
      groupId: `${prefix} ${index % groups}`,
      taskId: `task ${Math.floor(index / groups)}`,
    }));

  it("tells exactly one caller of each of 300 groups the total, over four processes", async () => {
    const backend = await database.open();
    await Promise.all(Array.from({ length: 300 }, async (_, index) => backend.initGroup(`once ${index}`, 8)));
    const told = await completeElsewhere(4, named("once", 300, 8));
    for (let index = 0; index < 300; index += 1) {
      const numbers = told.filter(({ groupId }) => groupId === `once ${index}`).map(({ completed }) => completed);
      expect(numbers.sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    }
  });

  it("counts right, announces once and is claimed once when every member is sent twice", async () => {
    const [backend, claiming] = [await database.open(), await database.open()];
    await backend.ready();
    const events: GroupProgress[] = [];
    const claims: string[] = [];
    const asked: Promise<unknown>[] = [];
    const subscription = backend.groupCompletions$().subscribe((progress) => {
      events.push(progress);
      for (const each of [backend, claiming])
        asked.push(each.claimGroup(progress.groupId).then((claim) => claim && claims.push(claim.groupId)));
    });
    await Promise.all(Array.from({ length: 300 }, async (_, index) => backend.initGroup(`twice ${index}`, 8)));
    const work = named("twice", 300, 8);
    const told = await completeElsewhere(4, [...work, ...work]);
    expect(Math.max(...told.map(({ completed }) => completed))).toBe(8);
    await eventually(() => expect(asked).toHaveLength(600), { timeoutMs: 20_000 });
    await Promise.all(asked);
    expect(claims).toHaveLength(300);
    expect(new Set(claims).size).toBe(300);
    expect(events).toHaveLength(300);
    expect(new Set(events.map(({ groupId }) => groupId)).size).toBe(300);
    expect(
      events.every(({ completed, total, failed, done }) => completed === 8 && total === 8 && failed === 0 && done),
    ).toBe(true);
    expect(
      (await backend.unclaimedGroups({ limit: 1_000 })).filter(({ groupId }) => groupId.startsWith("twice")),
    ).toEqual([]);
    subscription.unsubscribe();
  });

  it("loses none of 300 groups whose members are completed while they are initialised", async () => {
    const [one, other] = [await database.open(), await database.open()];
    await one.ready();
    const waits = Array.from({ length: 300 }, async (_, index) => one.waitGroup<number>(`race ${index}`, 30_000));
    await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const groupId = `race ${index}`;
        await Promise.all([
          other.completeGroupMember(groupId, "a", 1),
          index % 2 === 0 ? one.initGroup(groupId, 2) : one.initGroup(groupId, ["a", "b"]),
          one.completeGroupMember(groupId, "b", 2),
        ]);
      }),
    );
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 300 }, () => [1, 2]));
  });

  it("lets two completers inside long transactions each have its number, the second after the first", async () => {
    const backend = await database.open();
    await backend.initGroup("long", 2);
    const [one, other] = [await database.pool.connect(), await database.pool.connect()];
    await one.query("begin");
    await other.query("begin");
    expect(await backend.completeGroupMember("long", "a", 1, { client: one })).toBe(1);
    const second = backend.completeGroupMember("long", "b", 2, { client: other });
    expect(await backend.getGroup("long")).toMatchObject({ completed: 0, done: false });
    await one.query("commit");
    expect(await second).toBe(2);
    await other.query("commit");
    one.release();
    other.release();
    expect(await backend.waitGroup("long", 20_000)).toEqual([1, 2]);
  });

  it("counts nothing of a transaction that is rolled back", async () => {
    const backend = await database.open();
    await backend.ready();
    const client = await database.pool.connect();
    await client.query("begin");
    await backend.initGroup("rolled back", 1, { client });
    await backend.completeGroupMember("rolled back", "a", 1, { client });
    await backend.failGroupMember("rolled back", "b", new Error("x"), { client }).catch(() => undefined);
    await client.query("rollback");
    client.release();
    expect(await backend.getGroup("rolled back")).toBeUndefined();
    expect(await backend.getGroupResults("rolled back")).toEqual([]);
  });

  it("goes on being right when writers know nothing of it: COPY-like bulk, updates, single rows", async () => {
    const backend = await database.open();
    await backend.ready();
    const waits = backend.waitGroup("bulk", 20_000);
    await backend.initGroup("bulk", 3_000);
    await database.sql(
      `insert into ${members} (group_id, task_id, result, completed) select 'bulk', i::text, to_jsonb(i), true from generate_series(1, 2000) as i`,
    );
    await database.sql(
      `insert into ${members} (group_id, task_id) select 'bulk', i::text from generate_series(2001, 3000) as i`,
    );
    expect(await backend.getGroup("bulk")).toMatchObject({ completed: 2_000, done: false });
    await database.sql(
      `update ${members} set completed = true, result = '0' where group_id = 'bulk' and not completed`,
    );
    expect(await waits).toHaveLength(3_000);
    await database.sql(`update ${members} set result = '1' where group_id = 'bulk'`);
    expect(await backend.getGroup("bulk")).toMatchObject({ completed: 3_000, failed: 0, done: true });
  });

  it("works with notify: 'deferred' too", async () => {
    const [storing, waiting] = [await database.open({ notify: "deferred" }), await database.open()];
    await waiting.ready();
    const completions: string[] = [];
    const subscription = waiting.groupCompletions$().subscribe(({ groupId }) => completions.push(groupId));
    const waits = waiting.waitGroup("deferred", 20_000);
    await storing.initGroup("deferred", 100);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => storing.completeGroupMember("deferred", `t${index}`, index)),
    );
    expect(await waits).toHaveLength(100);
    await eventually(() => expect(completions).toEqual(["deferred"]));
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    subscription.unsubscribe();
  });

  it("declares a large group in proportion to its ids, however many members have finished, and conflicts are undone", async () => {
    const backend = await database.open({ retryTimeoutMs: 20_000 });
    const ids = Array.from({ length: 20_000 }, (_, index) => `task ${index}`);
    const finish = async (groupId: string, taskIds: readonly string[]): Promise<unknown> =>
      Promise.all(taskIds.map(async (taskId) => backend.completeGroupMember(groupId, taskId, 1)));
    await finish("large", ids.slice(0, 2_000));
    await finish("stray", [...ids.slice(0, 10), "another"]);
    await backend.initGroup("large", ids);
    expect(await backend.getGroup("large")).toMatchObject({ total: 20_000, completed: 2_000, done: false });
    await expect(backend.initGroup("stray", ids)).rejects.toMatchObject({ code: "GROUP_CONFLICT" });
    expect(await backend.getGroup("stray")).toMatchObject({ total: null, completed: 11 });
    expect(await database.sql(`select from ${members} where group_id = 'stray'`)).toHaveLength(11);
  }, 60_000);

  it("deletes expired groups with their members, and no others", async () => {
    const backend = await database.open();
    await backend.initGroup("short", ["a", "b"], { ttlMs: 1 });
    await backend.initGroup("open", 2, { ttlMs: 1 });
    await Promise.all([
      backend.completeGroupMember("short", "a", 1),
      backend.completeGroupMember("short", "b", 1),
      backend.completeGroupMember("open", "a", 1),
    ]);
    await eventually(async () => expect(await backend.getGroup("short")).toBeUndefined());
    expect((await backend.prune()).groups).toBe(1);
    expect(await database.sql(`select group_id from ${members} where group_id in ('short', 'open')`)).toEqual([
      { group_id: "open" },
    ]);
    expect(await backend.getGroup("open")).toMatchObject({ completed: 1, total: 2 });
  });

  it.each(["this library", "a foreign writer"])(
    "loses no member that %s completes while its expired group is being deleted",
    async (writer) => {
      const backend = await database.open();
      const [state, groupId] = [`${escapeIdentifier(database.schema)}.kojin_group_state`, `pruned under ${writer}`];
      await backend.initGroup(groupId, 1, { ttlMs: 1 });
      await backend.completeGroupMember(groupId, "old", 1);
      await eventually(async () => expect(await backend.getGroup(groupId)).toBeUndefined());
      // As prune does, but seen in the middle of it.
      const client = await database.pool.connect();
      await client.query("begin");
      await client.query(`delete from ${members} where group_id = $1`, [groupId]);
      await client.query(`delete from ${state} where group_id = $1`, [groupId]);
      const completed =
        writer === "this library"
          ? backend.completeGroupMember(groupId, "new", 2)
          : database.sql(
              `insert into ${members} (group_id, task_id, result, completed) values ($1, 'new', '2', true)`,
              [groupId],
            );
      await eventually(async () => {
        const blocked = await database.sql(
          "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%' || $1 || '%'",
          [writer === "this library" ? ourStatement : "values ($1, 'new', '2', true)"],
        );
        expect(blocked).toHaveLength(1);
      });
      await client.query("commit");
      client.release();
      expect(await completed).toEqual(writer === "this library" ? 1 : []);
      expect(await backend.getGroup(groupId)).toEqual({ groupId, total: null, completed: 1, failed: 0, done: false });
      expect(await backend.getGroupResults(groupId)).toEqual([2]);
    },
  );
});
