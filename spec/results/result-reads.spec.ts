import { escapeIdentifier } from "pg";
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
