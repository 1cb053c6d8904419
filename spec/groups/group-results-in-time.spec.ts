import type { PoolClient } from "pg";
import { escapeIdentifier } from "pg";
import { WaitTimeoutError } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";

describe("the results of a group that is done, while they cannot be read", () => {
  const database = specDatabase("group results");
  let locking: PoolClient;

  beforeEach(async () => {
    const backend = await database.open();
    await backend.initGroup("done", 1);
    await backend.completeGroupMember("done", "member", "its result");
    // That the group is done can still be read: it is in another table.
    locking = await database.pool.connect();
    await locking.query("begin");
    await locking.query(`lock table ${escapeIdentifier(database.schema)}.kojin_groups in access exclusive mode`);
  });
  afterEach(() => locking.release());

  it("do not hold a wait beyond its deadline", async () => {
    const backend = await database.open({ retryTimeoutMs: 30_000 });
    const startedAt = performance.now();
    await expect(backend.waitGroup("done", 500)).rejects.toBeInstanceOf(WaitTimeoutError);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await locking.query("rollback");
  });

  it("are waited for as long as the wait may last, however short a call is to be retried", async () => {
    const backend = await database.open({ retryTimeoutMs: 300 });
    const waits = backend.waitGroup("done", 30_000);
    await locking.query("select pg_sleep(1)");
    await locking.query("rollback");
    expect(await waits).toEqual(["its result"]);
  });

  it("do not hold a wait that is aborted", async () => {
    const backend = await database.open();
    const abort = new AbortController();
    const waits = backend.waitGroup("done", { timeoutMs: 30_000, signal: abort.signal });
    await locking.query("select pg_sleep(0.5)");
    abort.abort("enough");
    await expect(waits).rejects.toBe("enough");
    await locking.query("rollback");
  });
});
