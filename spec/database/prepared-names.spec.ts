import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { PreparedNames } from "../../lib/database/prepared-names";
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

  it("for reads are planned anew for each, since a plan for an almost empty table would do harm to a full one", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    const backend = new PostgresResultBackend(pool, { schema: database.schema, listen: false });
    // So small that a plan for any ids, which reads all of it, is cheaper than planning.
    await database.sql(`vacuum analyze "${database.schema}".kojin_results`);
    for (let count = 0; count < 20; count += 1) await backend.get("nothing");
    const { rows } = await pool.query(
      "select generic_plans::int, custom_plans::int from pg_prepared_statements where statement ~ 'from .*kojin_results'",
    );
    expect(rows).toEqual([{ generic_plans: 0, custom_plans: 20 }]);
    await backend.close();
    await pool.end();
  });

  it("for one result have a plan that is kept while the table is large, and another one after it was small", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    const backend = new PostgresResultBackend(pool, { schema: database.schema, listen: false });
    const results = `"${database.schema}".kojin_results`;
    const fill = async (count: number): Promise<unknown> =>
      database.sql(`insert into ${results} select 'r' || i, '{}' from generate_series(1, ${count}) as i`);
    const read = async (): Promise<void> => {
      for (let index = 1; index <= 60; index += 1) expect(await backend.get(`r${1 + (index % 3)}`)).toEqual({});
    };
    const kept = async (): Promise<{ number: string; uses: number; plan: string }[]> => {
      const { rows } = await pool.query<{ name: string; number: string; uses: number }>(
        `select name, substring(statement from '/. plan (.*) .*$') as number, generic_plans::int as uses
         from pg_prepared_statements where statement like '%* plan %' order by number`,
      );
      const plans = rows.map(async ({ name }) => (await pool.query<object>(`explain execute "${name}" ('r1')`)).rows);
      return Promise.all(
        rows.map(async ({ number, uses }, index) => ({ number, uses, plan: JSON.stringify(await plans[index]) })),
      );
    };
    const byKey = expect.stringContaining("Index Scan using kojin_results_pkey") as string;
    await fill(3);
    await database.sql(`vacuum analyze ${results}`);
    await read();
    expect(await kept()).toEqual([]);
    await database.sql(`delete from ${results}`);
    await fill(5_000);
    await read();
    const [first] = await kept();
    expect(first).toEqual({ number: "1", uses: expect.any(Number) as number, plan: byKey });
    expect(first?.uses).toBeGreaterThan(40);
    // Has that plan made anew. (VACUUM FULL would keep what sessions of other specs may still see.)
    await database.sql(`truncate ${results}`);
    await fill(3);
    await read();
    // One of them is the look at it.
    expect((await kept())[0]?.uses).toBeLessThanOrEqual((first?.uses ?? 0) + 17);
    await database.sql(`delete from ${results}`);
    await fill(5_000);
    await read();
    expect((await kept())[1]).toEqual({ number: "2", uses: expect.any(Number) as number, plan: byKey });
    await backend.close();
    await pool.end();
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
