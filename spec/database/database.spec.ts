import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { Database, type Query } from "../../lib/database/database";
import { PreparedNames } from "../../lib/database/prepared-names";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("prepared statements", () => {
  const database = specDatabase("prepared");

  it("have a name made from their text, and one that fits an identifier", () => {
    const names = new PreparedNames(true);
    expect(names.nameOf("select 1")).toMatch(/^kojin_[0-9a-f]{16}$/);
    expect(names.nameOf("select 1")).toBe(new PreparedNames(true).nameOf("select 1"));
    expect(names.nameOf("select 2")).not.toBe(names.nameOf("select 1"));
  });

  it.each(["26000", "42P05", "0A000"])("are given up for good at a %s", (sqlState) => {
    const names = new PreparedNames(true);
    expect(names.isLost("23505")).toBe(false);
    expect(names.nameOf("select 1")).toBeDefined();
    expect(names.isLost(sqlState)).toBe(true);
    expect(names.nameOf("select 1")).toBeUndefined();
  });

  it("are not made where they may not be", () => {
    expect(new PreparedNames(false).nameOf("select 1")).toBeUndefined();
  });

  it("that the server has forgotten fail no store", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    pool.on("error", () => undefined);
    const backend = new PostgresResultBackend(pool, { schema: database.schema });
    const prepared = async (): Promise<number> =>
      (await pool.query("select from pg_prepared_statements where name like 'kojin\\_%'")).rows.length;
    await backend.store("first", 1);
    expect(await prepared()).toBeGreaterThan(0);
    // As a pooler's reset does, of which the driver knows nothing.
    await pool.query("deallocate all");
    await backend.store("second", 2);
    await backend.store("third", 3);
    expect(await backend.get("third")).toBe(3);
    expect(await prepared()).toBe(0);
    expect(backend.stats().stores).toMatchObject({ rows: 3, retries: 0 });
    await backend.close();
    await pool.end();
  });
});

describe("a follow-up", () => {
  const database = specDatabase("follow-up", { migrated: false });

  const queryOf = (text: string): Query => ({ purpose: "test", text, values: [] });

  /** Runs a query with a follow-up on a pool of one connection. */
  async function run(query: Query, followUp: Query, pipeline = true) {
    const pool = new Pool({ connectionString: database.url, max: 1, pipeline });
    pool.on("error", () => undefined);
    const runner = new Database(pool, database.schema);
    const sent: Promise<unknown>[] = [];
    const onSent = (answered: Promise<unknown>): void => void sent.push(answered);
    const answered = runner.query({ ...query, followUp: { query: followUp, onSent } }, 5_000);
    const [outcome] = await Promise.allSettled([answered]);
    const lentAfterwards = pool.totalCount - pool.idleCount;
    const [followed] = await Promise.allSettled(sent);
    await eventually(() => expect(pool.totalCount - pool.idleCount).toBe(0));
    const queries = runner.queries;
    await runner.close();
    await pool.end();
    return { outcome, followed, lentAfterwards, queries };
  }

  it("is sent behind its query, which does not wait for it, while the connection does", async () => {
    const startedAt = performance.now();
    const slow = queryOf("select pg_sleep(0.5), pg_backend_pid()");
    const { outcome, followed, lentAfterwards } = await run(queryOf("select pg_backend_pid()"), slow);
    expect(performance.now() - startedAt).toBeGreaterThan(400);
    expect(lentAfterwards).toBe(1);
    const [[pid]] = (outcome as PromiseFulfilledResult<number[][]>).value as [[number]];
    const [[, samePid]] = (followed as PromiseFulfilledResult<[unknown, number][]>).value as [[unknown, number]];
    expect(samePid).toBe(pid);
  });

  it("is a transaction of its own: it is done where its query fails, and may fail alone", async () => {
    const [good, bad] = [queryOf("select 1"), queryOf("select 1 / 0")];
    expect(await run(bad, good)).toMatchObject({
      outcome: { status: "rejected", reason: { sqlState: "22012" } },
      followed: { status: "fulfilled" },
    });
    expect(await run(good, bad)).toMatchObject({
      outcome: { status: "fulfilled" },
      followed: { status: "rejected", reason: { code: "22012" } },
    });
  });

  it("is left to the caller where the pool does not pipeline", async () => {
    expect(await run(queryOf("select 1"), queryOf("select 2"), false)).toMatchObject({
      outcome: { status: "fulfilled" },
      followed: undefined,
      lentAfterwards: 0,
      queries: 1,
    });
  });

  it("keeps no connection whose query was given up", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1, pipeline: true });
    pool.on("error", () => undefined);
    const runner = new Database(pool, database.schema);
    const sent: Promise<unknown>[] = [];
    const followUp = { query: queryOf("select 2"), onSent: (answered: Promise<unknown>) => void sent.push(answered) };
    const late = runner.query({ ...queryOf("select pg_sleep(60)"), followUp }, 300);
    await expect(late).rejects.toMatchObject({ transient: true });
    expect(await Promise.allSettled(sent)).toHaveLength(1);
    expect(await runner.query(queryOf("select 3"), 5_000)).toEqual([[3]]);
    await eventually(async () =>
      expect(
        await database.sql(
          "select from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()",
        ),
      ).toEqual([]),
    );
    await runner.close();
    await pool.end();
  });
});
