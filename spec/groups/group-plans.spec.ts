import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

interface Scans {
  readonly table: string;
  readonly inserted: number;
  readonly read: number;
}

describe("the cost of groups", () => {
  const database = specDatabase("group plans");
  const members = 3_000;

  const scans = async (): Promise<Scans[]> =>
    database.sql<{ table: string; inserted: number; read: number }>(
      `select relname as table, n_tup_ins::int as inserted, seq_tup_read::int as read
       from pg_stat_user_tables where schemaname = $1 and relname in ('kojin_groups', 'kojin_group_state') order by relname`,
      [database.schema],
    );

  it("does not grow with the tables: no plan that reads all of them is kept from when they were small", async () => {
    const backend = await database.open({}, `${database.url}&max=1`);
    // One after the other, so that each is a statement of its own, and plans are made and kept.
    const finish = async (groupId: string, count: number): Promise<void> => {
      for (let index = 0; index < count; index += 1)
        await backend.completeGroupMember(groupId, `member ${index}`, index);
    };
    await finish("small", 20);
    await Promise.all(
      Array.from({ length: members }, async (_, index) =>
        backend.completeGroupMember(`group ${index}`, "member", index),
      ),
    );
    await finish("later", 50);
    // The session tells what it has read when it ends, at the latest.
    await backend.close();
    await eventually(async () =>
      expect((await scans()).map(({ inserted }) => inserted)).toEqual([members + 2, members + 70]),
    );
    for (const { table, read } of await scans())
      expect({ table, isLittle: read < 5_000 }).toEqual({ table, isLittle: true });
  });
});
