import { Database, type Query } from "../../lib/database/database";
import { OwnPool } from "../../lib/database/own-pool";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("connections of the library's own pool", () => {
  const database = specDatabase("spare connections", { migrated: false });

  const queryOf = (text: string): Query => ({ purpose: "test", text, values: [] });
  const pidQuery = queryOf("select pg_backend_pid()");

  function open(max: number, isOwnPool = true) {
    const own = new OwnPool({ connectionString: database.url, max });
    const runner = new Database(own.pool, database.schema, true, isOwnPool);
    let acquired = 0;
    own.pool.on("acquire", () => (acquired += 1));
    const close = async (): Promise<void> => {
      await runner.close();
      await own.end();
    };
    return { pool: own.pool, runner, acquired: () => acquired, close };
  }

  it("are kept between statements for a second at most", async () => {
    const { pool, runner, acquired, close } = open(2);
    for (let index = 0; index < 20; index += 1) await runner.query(pidQuery, 5_000);
    expect(acquired()).toBeLessThan(20);
    await eventually(() => expect([pool.totalCount, pool.idleCount]).toEqual([1, 1]));
    await close();
  });

  it("are not kept if the pool may have other users", async () => {
    const { pool, runner, acquired, close } = open(2, false);
    for (let index = 0; index < 20; index += 1) await runner.query(pidQuery, 5_000);
    expect([acquired(), pool.idleCount]).toEqual([20, 1]);
    await close();
  });

  it("go to the calls that wait for one", async () => {
    const { pool, runner, close } = open(1);
    const slow = queryOf("select pg_sleep(0.02)");
    await Promise.all(Array.from({ length: 10 }, async () => runner.query(slow, 900)));
    expect(pool.totalCount).toBe(1);
    await close();
  });

  it("are replaced when their session has ended meanwhile", async () => {
    const { pool, runner, close } = open(1);
    const [[pid]] = (await runner.query<[number]>(pidQuery, 5_000)) as [[number]];
    const [client] = (pool as unknown as { _clients: { once(event: "end", listener: () => void): void }[] })._clients;
    const ended = new Promise<void>((resolve) => client?.once("end", resolve));
    await database.sql("select pg_terminate_backend($1)", [pid]);
    await ended;
    const [[nextPid]] = (await runner.query<[number]>(pidQuery, 5_000)) as [[number]];
    expect(nextPid).not.toBe(pid);
    await close();
  });

  it("go back when the backend is closed", async () => {
    const { pool, runner, close } = open(1);
    await runner.query(pidQuery, 5_000);
    expect(pool.idleCount).toBe(0);
    await runner.close();
    expect(pool.idleCount).toBe(1);
    await close();
  });

  it("do not keep the process alive", async () => {
    const { pool, runner, close } = open(1);
    await runner.query(pidQuery, 5_000);
    expect(pool.idleCount).toBe(0);
    expect(process.getActiveResourcesInfo()).not.toContain("TCPSocketWrap");
    await close();
  });
});
