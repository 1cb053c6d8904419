import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

/** In every variant: these specs are about the triggers, for writers that use nothing else. */
const byTrigger = { notify: "trigger" } as const;

describe("writes that no trigger tells of", () => {
  const database = specDatabase("bypassed triggers");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    waiting = await database.open({ ...byTrigger, sweepIntervalMs: 300 });
  });

  async function insert(taskId: string, result: number): Promise<void> {
    await database.sql(`insert into ${results} (task_id, result) values ('${taskId}', '${result}')`);
  }

  async function openWait(taskId: string, by = waiting): Promise<{ result: Promise<unknown> }> {
    const { statements } = by.stats().reads;
    const result = by.wait(taskId, 30_000);
    await eventually(() => {
      expect(by.stats()).toMatchObject({ status: "listening", reads: { queued: 0, inFlight: 0 } });
      // The read of a wait is sent a little later than the call.
      expect(by.stats().reads.statements).toBeGreaterThan(statements);
    });
    return { result };
  }

  it.each(["all", "user"])("are found by sweeping while %s triggers are disabled", async (which) => {
    const { result } = await openWait(`disabled ${which}`);
    await database.sql(`alter table ${results} disable trigger ${which}`);
    await insert(`disabled ${which}`, 1);
    expect(await result).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 1, notification: 0 });
    expect((await waiting.health()).problems.join()).toContain("kojin_results_notify_insert");
    await database.sql(`alter table ${results} enable trigger ${which}`);
    const { result: heard } = await openWait(`enabled ${which}`);
    await insert(`enabled ${which}`, 2);
    expect(await heard).toBe(2);
    expect(await waiting.health()).toMatchObject({ ok: true });
  });

  it("include those of this library, which are found by sweeping, too", async () => {
    await database.sql(`alter table ${results} disable trigger all`);
    for (const [what, taskIds] of [
      ["one", ["a"]],
      ["many", ["b", "c", "d"]],
    ] as const) {
      const waits = await Promise.all(taskIds.map(async (taskId) => openWait(taskId)));
      await Promise.all(taskIds.map(async (taskId) => waiting.store(taskId, what)));
      for (const { result } of waits) expect(await result).toBe(what);
    }
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 4, notification: 0 });
    await database.sql(`alter table ${results} enable trigger all`);
  });

  it("are not those of another trigger, which stores a result of its own as one is stored", async () => {
    const seldom = await database.open({ ...byTrigger });
    const schema = escapeIdentifier(database.schema);
    await database.sql(`
      create function ${schema}.audit() returns trigger language plpgsql as $$
      begin
        insert into ${results} (task_id, result) values ('audit of ' || new.task_id, new.result)
        on conflict (task_id) do update set result = excluded.result;
        return null;
      end
      $$;
      create trigger audit after insert or update on ${results} for each row when (new.task_id like 'audited%')
      execute function ${schema}.audit()`);
    const inline = await database.open({ ...byTrigger, inlineResultBytes: 1_000 });
    const stores: Record<string, (taskId: string, result: number) => Promise<void>> = {
      plain: async (taskId, result) => seldom.store(taskId, result),
      inline: async (taskId, result) => inline.store(taskId, result),
      kept: async (taskId, result) => seldom.store(taskId, result, { onConflict: "keep" }),
    };
    for (const [name, store] of Object.entries(stores)) {
      // One alone, and two in one statement.
      for (const ids of [["1"], ["2", "3"]]) {
        const taskIds = ids.map((id) => `audited ${name} ${id}`);
        const all = taskIds.flatMap((taskId) => [taskId, `audit of ${taskId}`]);
        const waits = await Promise.all(all.map(async (taskId) => openWait(taskId, seldom)));
        await Promise.all(taskIds.map(async (taskId) => store(taskId, 7)));
        for (const { result } of waits) expect(await result).toBe(7);
      }
    }
    expect(seldom.stats().wokenBy).toMatchObject({ notification: 18, sweep: 0 });
    await database.sql(`drop trigger audit on ${results}`);
  });

  it("are not those of another application's triggers, which change a group as a result is stored", async () => {
    const seldom = await database.open({ ...byTrigger });
    await database.sql(`
      create function ${escapeIdentifier(database.schema)}.chain() returns trigger language plpgsql as $$
      begin
        insert into ${members} (group_id, task_id, result, completed) values ('chained', new.task_id, new.result, true);
        return null;
      end
      $$;
      create trigger chain after insert on ${results} for each row when (new.task_id like 'chain%')
      execute function ${escapeIdentifier(database.schema)}.chain()`);
    await seldom.initGroup("chained", 2);
    const done = seldom.waitGroup("chained", 20_000);
    await eventually(() => expect(seldom.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await seldom.store("chain 1", "one");
    await seldom.store("chain 2", "two");
    expect(await done).toEqual(["one", "two"]);
    expect(seldom.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0 });
    await database.sql(`drop trigger chain on ${results}`);
  });

  it("are found by sweeping when their session plays a replica", async () => {
    const { result } = await openWait("replica");
    const client = await database.pool.connect();
    await client.query("begin; set local session_replication_role = replica");
    await waiting.store("replica", 1, { client });
    await client.query("commit");
    client.release();
    expect(await result).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 1, notification: 0 });
  });

  it("count as caught by a sweep if they had been there for a while", async () => {
    const patient = await database.open({ ...byTrigger, sweepIntervalMs: 2_000 });
    const result = patient.wait("caught", 30_000);
    await eventually(() => expect(patient.stats()).toMatchObject({ status: "listening", sweeps: 1 }));
    await database.sql(`alter table ${results} disable trigger all`);
    await insert("caught", 1);
    expect(await result).toBe(1);
    expect(patient.stats().caughtBySweep).toBe(1);
    await database.sql(`alter table ${results} enable trigger all`);
  });

  it("do not end a wait when they truncate the table: it goes on, and gets what is stored later", async () => {
    // Sweeps rarely, since a sweep may come before the notification.
    const listening = await database.open();
    await waiting.store("other", 1);
    const { result } = await openWait("truncated", listening);
    await database.sql(`truncate ${results}`);
    expect(await waiting.get("other")).toBeUndefined();
    await waiting.store("truncated", "after");
    expect(await result).toBe("after");
    expect(listening.stats().wokenBy).toMatchObject({ notification: 1 });
  });

  it("are over after a restore has disabled and enabled triggers, whatever it makes of them", async () => {
    await database.sql(`alter table ${results} enable always trigger kojin_results_notify_insert`);
    expect(await waiting.health()).toMatchObject({ ok: true });
    await database.sql(`alter table ${results} disable trigger all`);
    await database.sql(`alter table ${results} enable trigger all`);
    expect(await waiting.health()).toMatchObject({ ok: true });
    const { result } = await openWait("restored");
    await insert("restored", 1);
    expect(await result).toBe(1);
  });

  it("leave members of groups uncounted until migrate() has enabled the triggers, and counts anew", async () => {
    await waiting.initGroup("ours", ["a", "b", "c"]);
    await waiting.completeGroupMember("ours", "b", "second");
    await waiting.initGroup("open", 2);
    for (const index of [1, 2])
      await database.sql(
        `insert into ${members} (group_id, task_id, completed) values ('rust', 'rust:placeholder:' || $1, false)`,
        [index],
      );
    const [ours, rust] = [waiting.waitGroup("ours", 30_000), waiting.waitGroup("rust", 30_000)];
    const seen: string[] = [];
    const subscription = waiting.groupMembers$("ours").subscribe(({ taskId }) => seen.push(taskId));
    const complete = async (groupId: string, taskId: string): Promise<void> => {
      await database.sql(
        `insert into ${members} (group_id, task_id, result, completed) values ($1, $2, to_jsonb($2::text), true)
         on conflict (group_id, task_id) do update set result = excluded.result, completed = true`,
        [groupId, taskId],
      );
    };
    await database.sql(`alter table ${members} disable trigger all`);
    for (const taskId of ["a", "c"]) await complete("ours", taskId);
    for (const taskId of ["x", "y"]) await complete("rust", taskId);
    await complete("open", "one");
    await complete("unknown", "one");
    expect(await waiting.getGroup("ours")).toMatchObject({ completed: 1, done: false });
    expect((await waiting.health()).problems.join()).toContain("kojin_groups_count_insert");

    const { repaired } = await waiting.migrate();
    expect(repaired).toContain("kojin_groups_count_insert");
    expect(await ours).toEqual(["a", "second", "c"]);
    expect(await rust).toEqual(["x", "y"]);
    await eventually(() => expect([...seen].sort()).toEqual(["a", "b", "c"]));
    expect(await waiting.getGroup("open")).toMatchObject({ total: 2, completed: 1, done: false });
    expect(await waiting.getGroup("unknown")).toMatchObject({ total: null, completed: 1, done: false });
    expect(await waiting.completeGroupMember("open", "two", 2)).toBe(2);
    expect(await waiting.getGroup("open")).toMatchObject({ completed: 2, done: true });
    expect(await waiting.claimGroup("ours")).toBeDefined();
    expect(await waiting.migrate()).toMatchObject({ repaired: [] });
    subscription.unsubscribe();
  });

  it("and truncate the members of an open group leave its count as it was, until it is counted anew", async () => {
    await waiting.initGroup("emptied", 2);
    await waiting.completeGroupMember("emptied", "a", 1);
    await database.sql(`alter table ${members} disable trigger all`);
    await database.sql(`truncate ${members}`);
    expect(await waiting.getGroup("emptied")).toMatchObject({ completed: 1 });
    expect(await waiting.getGroupResults("emptied")).toEqual([]);
    await waiting.migrate();
    expect(await waiting.getGroup("emptied")).toMatchObject({ total: 2, completed: 0, done: false });
    await waiting.completeGroupMember("emptied", "a", 1);
    expect(await waiting.completeGroupMember("emptied", "b", 2)).toBe(2);
    expect(await waiting.getGroupResults("emptied")).toEqual([1, 2]);
  });
});
