import { escapeIdentifier } from "pg";
import { firstValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("a schema that gets triggers while writers count", () => {
  const database = specDatabase("turning", { migrated: false });
  let counter = 0;

  async function freshCounting(): Promise<[PostgresResultBackend, PostgresResultBackend, string]> {
    counter += 1;
    const schema = `${database.schema} "${counter}`;
    database.createSchema(schema);
    const [writing, migrating] = [await database.open({ schema }), await database.open({ schema })];
    await migrating.migrate({ triggers: false });
    return [writing, migrating, escapeIdentifier(schema)];
  }

  it("counts each member once, in groups that were begun before, and in those that are begun after", async () => {
    for (let round = 0; round < 3; round += 1) {
      const [writing, migrating, name] = await freshCounting();
      await writing.initGroup("g", 400);
      let isTurned = false;
      const told: number[] = [];
      const lanes = Array.from({ length: 8 }, async (_, lane) => {
        for (let index = 0; index < 50; index += 1) {
          told.push(await writing.completeGroupMember("g", `${lane} ${index}`, 1));
          if (told.length === 100) isTurned = await migrating.migrate().then(() => true);
        }
      });
      await Promise.all(lanes);
      expect(isTurned).toBe(true);
      expect([...told].sort((a, b) => a - b)).toEqual(Array.from({ length: 400 }, (_, index) => index + 1));
      expect(await writing.getGroup("g")).toMatchObject({ completed: 400, failed: 0, done: true });
      const [places] = await database.sql(
        `select count(distinct finished_seq)::int as count from ${name}.kojin_groups`,
      );
      expect(places).toEqual({ count: 400 });
      await writing.initGroup("after", 1);
      await database.sql(
        `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('after', 'a', '1', true)`,
      );
      expect(await writing.getGroup("after")).toMatchObject({ completed: 1, done: true });
      await Promise.all([writing.close(), migrating.close()]);
    }
  });

  it.each(["read committed", "repeatable read"])(
    "is waited for, or takes over, where a caller's transaction of level %s began before",
    async (level) => {
      const [writing, migrating] = await freshCounting();
      await writing.initGroup("g", 3);
      const [early, late] = [await database.pool.connect(), await database.pool.connect()];
      for (const client of [early, late]) {
        await client.query(`begin isolation level ${level}`);
        await client.query("select 1");
      }
      expect(await writing.completeGroupMember("g", "early", 1, { client: early })).toBe(1);
      const migrated = migrating.migrate();
      await eventually(async () =>
        expect(
          await database.sql(
            "select from pg_locks where mode = 'AccessExclusiveLock' and not granted and relation is not null",
          ),
        ).toHaveLength(1),
      );
      await early.query("commit");
      await migrated;
      // Its snapshot is older than the triggers, and what it believes of the schema is, too.
      const told = await writing.completeGroupMember("fresh", "late", 1, { client: late });
      expect(told).toBe(1);
      await late.query("commit");
      for (const client of [early, late]) client.release();
      expect(await writing.getGroup("fresh")).toMatchObject({ completed: 1 });
      expect(await writing.completeGroupMember("g", "b", 1)).toBe(2);
      expect(await writing.getGroup("g")).toMatchObject({ completed: 2, done: false });
    },
  );

  it("takes the numbers of members on from those that are there, and counts what others have left uncounted", async () => {
    const [writing, migrating, name] = await freshCounting();
    await writing.initGroup("g", 6);
    for (const taskId of ["a", "b", "c"]) await writing.completeGroupMember("g", taskId, 1);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('g', 'd', '1', true)`,
    );
    expect(await writing.getGroup("g")).toMatchObject({ completed: 3 });
    const { applied } = await migrating.migrate();
    expect(applied).toEqual([{ version: 3, name: "0003_triggers" }]);
    expect((await migrating.planMigration()).pending).toEqual([]);
    expect(await writing.getGroup("g")).toMatchObject({ completed: 4 });
    for (const taskId of ["e", "f"]) await writing.completeGroupMember("g", taskId, 1);
    expect(await firstValueFrom(writing.groupMembers$("g").pipe(toArray()))).toHaveLength(6);
    const rows = await database.sql<{ task_id: string }>(
      `select task_id from ${name}.kojin_groups order by finished_seq`,
    );
    expect(rows.map(({ task_id }) => task_id)).toEqual(["a", "b", "c", "d", "e", "f"]);
    expect((await migrating.health()).problems).toEqual([]);
  });

  it("sends a writer that believes in triggers the other way, when it was made anew without", async () => {
    const [writing, migrating, name] = await freshCounting();
    await migrating.migrate();
    expect(await writing.completeGroupMember("g", "a", 1)).toBe(1);
    await database.sql(`drop schema ${name} cascade`);
    await migrating.migrate({ triggers: false });
    expect(await writing.completeGroupMember("g", "a", 1)).toBe(1);
    await writing.initGroup("g", 1);
    expect(await writing.getGroup("g")).toMatchObject({ completed: 1, done: true });
  });
});
