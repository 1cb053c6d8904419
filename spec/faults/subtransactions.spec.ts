import { escapeIdentifier } from "pg";
import { DatabaseError } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";

describe("a caller's transaction", () => {
  const database = specDatabase("subtransactions");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;

  it("neither stores nor announces what a savepoint takes back", async () => {
    const [backend, waiting] = [await database.open(), await database.open()];
    const waits = [waiting.wait("kept", 20_000), waiting.wait("top", 20_000)];
    const undone = waiting.wait("undone", 20_000);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    const client = await database.pool.connect();
    await client.query("begin");
    await backend.store("top", 1, { client });
    await client.query("savepoint first");
    await backend.store("undone", 2, { client });
    await backend.initGroup("undone", 1, { client });
    await client.query("rollback to savepoint first");
    await client.query("savepoint second");
    await backend.store("kept", 3, { client });
    await client.query("release savepoint second");
    await client.query("commit");
    client.release();
    expect(await Promise.all(waits)).toEqual([3, 1]);
    expect(waiting.stats().notifications.relevant).toBe(2);
    expect(await backend.get("undone")).toBeUndefined();
    expect(await backend.getGroup("undone")).toBeUndefined();
    await backend.store("undone", "later");
    expect(await undone).toBe("later");
  });

  it.each(["repeatable read", "serializable"])(
    "that is %s gets its serialization failure, which is its own to retry",
    async (level) => {
      const backend = await database.open();
      await backend.store(`contended ${level}`, 0);
      const client = await database.pool.connect();
      await client.query(`begin isolation level ${level}`);
      await client.query("select 1 from pg_class limit 1");
      await backend.store(`contended ${level}`, 1);
      const { retries } = backend.stats().stores;
      const rejection: unknown = await backend
        .store(`contended ${level}`, 2, { client })
        .catch((error: unknown) => error);
      expect(rejection).toBeInstanceOf(DatabaseError);
      expect(rejection).toMatchObject({ sqlState: "40001", transient: true, cause: { code: "40001" } });
      expect(backend.stats().stores.retries).toBe(retries);
      await client.query("rollback");
      client.release();
      expect(await backend.get(`contended ${level}`)).toBe(1);
    },
  );

  it("that deadlocks with a batch of ours costs the batch another try", async () => {
    const backend = await database.open();
    await Promise.all(["lock a", "lock b"].map(async (taskId) => backend.store(taskId, 0)));
    const foreign = await database.pool.connect();
    // Postgres ends the session that checks for the deadlock first. This one checks late.
    await foreign.query("begin; set local deadlock_timeout = '30s'");
    // The batch takes its rows in the order of their ids, so this is the other order.
    await foreign.query(`update ${results} set result = '1' where task_id = 'lock b'`);
    const stored = Promise.all(["lock a", "lock b"].map(async (taskId) => backend.store(taskId, 2)));
    await eventually(async () =>
      expect((await database.connections()).filter(({ wait_event }) => wait_event === "transactionid")).toHaveLength(1),
    );
    await foreign.query(`update ${results} set result = '1' where task_id = 'lock a'`);
    await foreign.query("commit");
    foreign.release();
    await stored;
    // A retry does not replace what was stored after the calls, as `lock a` was.
    expect([await backend.get("lock a"), await backend.get("lock b")]).toEqual([1, 2]);
    expect(backend.stats().stores).toMatchObject({ retries: 1, unnotified: 0 });
  });

  it("that commits under a batch whose snapshot is older costs the batch another try", async () => {
    // As on a database or role with another default isolation level.
    const address = withParameter(database.url, "options", "-c default_transaction_isolation=serializable");
    const backend = await database.open({}, address);
    await backend.store("snapshot", 0);
    const foreign = await database.pool.connect();
    await foreign.query("begin");
    await foreign.query(`update ${results} set result = '1' where task_id = 'snapshot'`);
    const stored = backend.store("snapshot", 2);
    await eventually(async () =>
      expect((await database.connections()).filter(({ wait_event }) => wait_event === "transactionid")).toHaveLength(1),
    );
    await foreign.query("commit");
    foreign.release();
    await stored;
    expect(await backend.get("snapshot")).toBe(2);
    expect(backend.stats().stores).toMatchObject({ retries: 1, unnotified: 0 });
  });
});
