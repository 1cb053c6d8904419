import { escapeIdentifier, Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { Database } from "../../lib/database/database";
import { isInTime } from "../../lib/results/expressions";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("what runs while the network is frozen", () => {
  const database = specDatabase("limits");
  const name = `frozen ${process.pid}`;
  let proxy: TcpProxy;
  let pool: Pool;

  beforeEach(async () => {
    proxy = await TcpProxy.start(database.url);
    pool = new Pool({ connectionString: proxy.route(withParameter(database.url, "application_name", name)) });
    pool.on("error", () => undefined);
  });
  afterEach(async () => {
    await proxy.stop();
    await pool.end();
  });

  const states = async (): Promise<(string | null)[]> =>
    (
      await database.sql<{ state: string }>("select state from pg_stat_activity where application_name = $1", [name])
    ).map(({ state }) => state);

  it("ends on the server by itself: a statement of the pool of connect()", async () => {
    const connectionString = proxy.route(withParameter(database.url, "application_name", name));
    const options = { schema: database.schema, retryTimeoutMs: 1_000, listen: false };
    const backend = await PostgresResultBackend.connect({ connectionString, statement_timeout: 4_000 }, options);
    await backend.get("warm");
    const client = await database.pool.connect();
    await client.query(`begin; lock table ${escapeIdentifier(database.schema)}.kojin_results in access exclusive mode`);
    const failed = expect(backend.get("frozen")).rejects.toMatchObject({ code: "DATABASE" });
    await eventually(async () => expect(await states()).toContain("active"));
    proxy.strand();
    proxy.mode = "blackhole";
    await failed;
    await eventually(async () => expect(await states()).not.toContain("active"), { timeoutMs: 20_000 });
    await client.query("rollback");
    client.release();
    await backend.close();
  });

  it("ends on the server by itself: a transaction in which a statement runs", async () => {
    const limits = { timeoutMs: 3_000, beginTimeoutMs: 3_000 };
    const sleeping = new Database(pool, "public").transaction("sleep", limits, async (client) =>
      client.query("select pg_catalog.pg_sleep(600)", []),
    );
    const failed = expect(sleeping).rejects.toMatchObject({ origin: "session", transient: true });
    await eventually(async () => expect(await states()).toEqual(["active"]));
    proxy.strand();
    proxy.mode = "blackhole";
    await failed;
    await eventually(async () => expect(await states()).not.toContain("active"), { timeoutMs: 20_000 });
  });

  it("ends on the server by itself: a transaction between two statements", async () => {
    const limits = { timeoutMs: 3_000, beginTimeoutMs: 3_000 };
    const freezing = new Database(pool, "public").transaction("freeze", limits, async (client) => {
      await client.query("select 1", []);
      proxy.strand();
      proxy.mode = "blackhole";
      await client.query("select 2", []);
    });
    await expect(freezing).rejects.toMatchObject({ origin: "session", transient: true });
    await eventually(async () => expect(await states()).toEqual([]), { timeoutMs: 20_000 });
  });

  it("commits nothing where the statement before its commit comes too late", async () => {
    const backend = await database.open();
    const table = `${escapeIdentifier(database.schema)}.kojin_results`;
    const commit = async (taskId: string, seconds: number): Promise<unknown> => {
      const [now] = await database.sql<{ now: number }>("select extract(epoch from clock_timestamp())::float8 as now");
      const due = String((now?.now ?? 0) + seconds);
      const commitGuard = `select ${isInTime(escapeIdentifier(database.schema), due)}`;
      const limits = { timeoutMs: 20_000, beginTimeoutMs: 20_000, commitGuard };
      return new Database(pool, database.schema).transaction("write", limits, async (client) =>
        client.query(`insert into ${table} (task_id, result) values ($1, '1')`, [taskId]),
      );
    };
    await commit("in time", 3_600);
    await expect(commit("late", -1)).rejects.toMatchObject({ sqlState: "KJ001", transient: true });
    expect([await backend.get("in time"), await backend.get("late")]).toEqual([1, undefined]);
  });

  it("gives no connection back whose rollback was not answered", async () => {
    const limits = { timeoutMs: 2_000, beginTimeoutMs: 2_000 };
    const failing = new Database(pool, "public").transaction("fail", limits, async (client) => {
      await client.query("select 1 / 0", []).finally(() => {
        proxy.strand();
        proxy.mode = "blackhole";
      });
    });
    await expect(failing).rejects.toMatchObject({ sqlState: "22012" });
    expect(pool.totalCount).toBe(0);
  });
});
