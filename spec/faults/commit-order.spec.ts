import { escapeIdentifier, Pool } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

const patience = { timeoutMs: 30_000 };

describe("streams in the order of commits", () => {
  const database = specDatabase("commit order");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  const members = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const ways: [string, PostgresResultBackendOptions][] = [
    // Also over NATS, which announces nothing of a caller's transaction.
    ["without a listener", { listen: false, sweepIntervalMs: 1_000 }],
    ["with one", { sweepIntervalMs: 500 }],
  ];

  interface Seen {
    readonly results: string[];
    readonly groups: string[];
    readonly changes: string[];
    readonly errors: unknown[];
  }

  /** Collects what streams emit until the backend is closed, which ends them with an error. */
  function watch(backend: PostgresResultBackend): Seen {
    const seen: Seen = { results: [], groups: [], changes: [], errors: [] };
    const error = (reason: unknown): void => void seen.errors.push(reason);
    backend.results$().subscribe({ next: ({ taskId }) => seen.results.push(taskId), error });
    backend.groupCompletions$().subscribe({ next: ({ groupId }) => seen.groups.push(groupId), error });
    backend.groupChanges$().subscribe({ next: ({ groupId, done }) => done && seen.changes.push(groupId), error });
    return seen;
  }

  /** Waits until the streams have begun. Results stored before that are selected by their time. */
  async function begin(backend: PostgresResultBackend, storing: PostgresResultBackend, name: string): Promise<Seen> {
    const seen = watch(backend);
    await storing.store(`${name} begins`, 1);
    await storing.initGroup(`${name} begins`, 0);
    await eventually(() => {
      for (const each of [seen.results, seen.groups, seen.changes]) expect(each).toContain(`${name} begins`);
    }, patience);
    return seen;
  }

  it.each(ways)("emit what a transaction wrote long before it was committed, %s", async (way, options) => {
    const [watching, storing] = [await database.open(options), await database.open()];
    const seen = await begin(watching, storing, way);
    const client = await database.pool.connect();
    await client.query("begin");
    await storing.store(`${way} late`, 1, { client });
    await storing.initGroup(`${way} late`, 1, { client });
    await storing.completeGroupMember(`${way} late`, "member", 1, { client });
    // As if it had been open for a day: its time is far behind that of later results.
    await client.query(`update ${results} set stored_at = now() - interval '1 day' where task_id = $1`, [
      `${way} late`,
    ]);
    for (let count = 0; count < 3; count += 1) {
      await storing.store(`${way} ${count}`, 1);
      await storing.initGroup(`${way} ${count}`, 0);
      await eventually(() => {
        expect(seen.results).toContain(`${way} ${count}`);
        expect(seen.groups).toContain(`${way} ${count}`);
      }, patience);
    }
    await client.query("commit");
    client.release();
    const all = ["begins", "0", "1", "2", "late"].map((each) => `${way} ${each}`);
    await eventually(() => {
      for (const each of [seen.results, seen.groups, seen.changes]) expect(each).toEqual(all);
    }, patience);
    expect(seen.errors).toEqual([]);
  });

  it.each(ways)("emit what bears any time whatever, %s", async (way, options) => {
    const [watching, storing] = [await database.open(options), await database.open()];
    const seen = await begin(watching, storing, `${way}, times`);
    const times = ["infinity", "-infinity", "2999-01-01", "1970-01-01"];
    for (const [index, time] of times.entries()) {
      await database.sql(`insert into ${results} (task_id, result, stored_at) values ($1, '1', $2)`, [
        `${way} at ${time}`,
        time,
      ]);
      // Replaces an earlier outcome by one whose time does not change, or goes back.
      await database.sql(`update ${results} set result = '2', stored_at = $2 where task_id = $1`, [
        `${way} at ${time}`,
        times.at(index - 1),
      ]);
    }
    await storing.store(`${way} ends`, 1);
    await eventually(() => expect(new Set(seen.results).size).toBe(times.length + 2), patience);
    for (const time of times) expect(await watching.get(`${way} at ${time}`)).toBe(2);
    expect(await watching.wait(`${way} at infinity`, 20_000)).toBe(2);
    expect(seen.errors).toEqual([]);
  });

  it("emit what was stored from the moment of the subscription on, without a listener", async () => {
    const [watching, before] = [await database.open({ listen: false }), await database.open()];
    await before.store("old", 1);
    // Sends what it could not yet announce over NATS. After the subscription, that would count as new.
    await before.close();
    const storing = await database.open();
    // A result stored within a round trip before the subscription may count as new.
    await database.sql(`update ${results} set stored_at = now() - interval '1 minute' where task_id = 'old'`);
    for (let round = 0; round < 5; round += 1) {
      const seen: string[] = [];
      const subscription = watching.results$().subscribe(({ taskId }) => seen.push(taskId));
      await storing.store(`young ${round}`, 1);
      await eventually(() => expect(seen).toContain(`young ${round}`), patience);
      expect(seen).not.toContain("old");
      subscription.unsubscribe();
    }
  });

  it("emit each of many results once, though a transaction is open all the while", async () => {
    const [watching, storing] = [await database.open({ listen: false, sweepIntervalMs: 200 }), await database.open()];
    const seen = await begin(watching, storing, "many");
    const client = await database.pool.connect();
    await client.query("begin");
    await storing.store("many late", 1, { client });
    for (let round = 0; round < 4; round += 1)
      await Promise.all(
        Array.from({ length: 500 }, async (_, index) => storing.store(`many ${round} ${index}`, index)),
      );
    await eventually(() => expect(seen.results.length).toBe(2_001), patience);
    const { statements } = watching.stats().reads;
    const { sweeps } = watching.stats();
    await eventually(() => expect(watching.stats().sweeps).toBeGreaterThan(sweeps + 3), patience);
    // Emitted results are not read again.
    expect(watching.stats().reads.statements).toBe(statements);
    await client.query("commit");
    client.release();
    await eventually(() => expect(seen.results.length).toBe(2_002), patience);
    expect(new Set(seen.results).size).toBe(2_002);
    expect(seen.errors).toEqual([]);
  });

  it("do not show what was stored before the column, nor what came from another cluster after migrate()", async () => {
    const [watching, storing] = [await database.open({ listen: false }), await database.open()];
    const seen = await begin(watching, storing, "copied");
    await database.sql(
      `insert into ${results} (task_id, result, stored_xid) values ('adopted', '1', null), ('restored', '1', '999999999999')`,
    );
    await storing.migrate();
    const [row] = await database.sql(`select stored_xid from ${results} where task_id = 'restored'`);
    expect(row).toEqual({ stored_xid: null });
    await storing.store("copied ends", 1);
    await eventually(() => expect(seen.results).toEqual(["copied begins", "copied ends"]), patience);
    expect(await watching.get("restored")).toBe(1);
  });

  it("emit a group of the crate's that settles while the first look is under way", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    const watching = new PostgresResultBackend(pool, { schema: database.schema, listen: false, sweepIntervalMs: 200 });
    try {
      await watching.get("warm-up");
      const held = await pool.connect();
      const { groups } = watch(watching);
      const place = `insert into ${members} (group_id, task_id, completed) values ('crate', 'crate:placeholder:0', false)`;
      const complete = `insert into ${members} (group_id, task_id, result, completed) values ('crate', 'a', '1', true)`;
      await database.sql(place);
      await database.sql(complete);
      // The look's snapshot includes the group, which is not done for another half second.
      held.release();
      await eventually(() => expect(groups).toEqual(["crate"]), patience);
    } finally {
      await watching.close();
      await pool.end();
    }
  });
});
