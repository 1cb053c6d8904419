import { Pool } from "pg";
import { Database } from "../../lib/database/database";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("a transaction whose network is frozen", () => {
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

  it("ends on the server by itself while a statement runs", async () => {
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

  it("ends on the server by itself between two statements", async () => {
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
