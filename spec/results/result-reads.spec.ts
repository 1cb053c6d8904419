import { escapeIdentifier, Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";

describe("reads of results by prepared statements", () => {
  const database = specDatabase("result reads", { migrated: false });
  const rows = 5_000;

  it.each(["auto", "force_custom_plan", "force_generic_plan"])(
    "give the same, and as a rule do not read a table by a plan from when it was small (plan_cache_mode = %s)",
    async (mode) => {
      const schema = `${database.schema} ${mode}`;
      database.createSchema(schema);
      const url = withParameter(`${database.url}&max=1`, "options", `-c plan_cache_mode=${mode}`);
      const backend = await database.open({ schema, listen: false }, url);
      await backend.migrate();
      const read = async (times: number): Promise<void> => {
        for (let index = 0; index < times; index += 1) {
          const [one, other, absent] = [`task ${index}`, `task ${rows - index}`, `absent ${index}`];
          const present = (taskId: string): string | undefined => (isFilled && taskId !== absent ? taskId : undefined);
          expect(await backend.get(one)).toBe(present(one));
          const taskIds = [one, other, absent];
          expect(await Promise.all(taskIds.map(async (taskId) => backend.get(taskId)))).toEqual(taskIds.map(present));
        }
      };
      let isFilled = false;
      await read(20);
      await database.sql(
        `insert into ${escapeIdentifier(schema)}.kojin_results (task_id, result)
         select 'task ' || i, to_jsonb('task ' || i) from generate_series(0, ${rows}) as i`,
      );
      isFilled = true;
      await read(40);
      // The session tells what it has read when it ends, at the latest.
      await backend.close();
      const scans = async (): Promise<{ inserted: number; read: number } | undefined> =>
        (
          await database.sql<{ inserted: number; read: number }>(
            `select n_tup_ins::int as inserted, seq_tup_read::int as read
             from pg_stat_user_tables where schemaname = $1 and relname = 'kojin_results'`,
            [schema],
          )
        )[0];
      await eventually(async () => expect((await scans())?.inserted).toBe(rows + 1));
      // A forced generic plan is one that was made before.
      if (mode !== "force_generic_plan") expect((await scans())?.read).toBeLessThan(rows);
    },
  );
});

describe("reads", () => {
  const database = specDatabase("read plans");

  it("are planned anew for each, since a plan for an almost empty table would do harm to a full one", async () => {
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

  it("of one result have a plan that is kept while the table is large, and another one after it was small", async () => {
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
});
