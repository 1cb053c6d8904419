import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("groups that are deleted", () => {
  const database = specDatabase("deletion");
  const schema = escapeIdentifier(database.schema);

  /** Compares the state of a group with its members: [states, members, counted members]. */
  const rowsOf = async (groupId: string): Promise<unknown> => {
    const [row] = await database.sql(
      `select (select count(*)::int from ${schema}.kojin_group_state where group_id = $1) as states,
         (select count(*)::int from ${schema}.kojin_groups where group_id = $1) as members,
         (select coalesce(sum(completed), 0)::int from ${schema}.kojin_group_state where group_id = $1) as counted`,
      [groupId],
    );
    return row;
  };

  it("take members with them that were written while the deletion waited for the lock", async () => {
    const backend = await database.open();
    await backend.initGroup("locked", 3);
    const client = await database.pool.connect();
    await client.query("begin");
    await backend.completeGroupMember("locked", "a", 1, { client });
    const deleted = backend.deleteGroup("locked");
    await eventually(async () =>
      expect(await database.connections()).toContainEqual(
        expect.objectContaining({ query: expect.stringContaining("kojin_delete_group") as string }),
      ),
    );
    await client.query("commit");
    client.release();
    expect(await deleted).toBe(true);
    expect(await rowsOf("locked")).toEqual({ states: 0, members: 0, counted: 0 });
  });

  it("leave right counts, and no deadlock, if their members finish meanwhile", async () => {
    const backends = [await database.open(), await database.open(), await database.open()] as const;
    const [deleting, ...finishing] = backends;
    for (let round = 0; round < 30; round += 1) {
      const groupId = `round ${round}`;
      await deleting.initGroup(groupId, 8);
      const work = finishing.flatMap((backend, process) =>
        [0, 1, 2, 3].map(async (member) => backend.completeGroupMember(groupId, `${process} ${member}`, member)),
      );
      await Promise.all([...work, deleting.deleteGroup(groupId), deleting.deleteGroup(groupId)]);
      const rows = (await rowsOf(groupId)) as { states: number; members: number; counted: number };
      expect(rows).toEqual({ states: rows.members === 0 ? 0 : 1, members: rows.counted, counted: rows.members });
    }
    for (const backend of backends) expect(backend.stats().groupWrites.retries).toBe(0);
  });

  it("are not announced", async () => {
    const [backend, other] = [await database.open(), await database.open()];
    await other.ready();
    await backend.initGroup("unannounced", ["a", "b"]);
    await backend.completeGroupMember("unannounced", "a", 1);
    const seen: unknown[] = [];
    const subscription = other.groupCompletions$().subscribe(({ groupId }) => seen.push(groupId));
    await backend.deleteGroup("unannounced");
    // Notifications arrive in the order of the commits.
    await backend.initGroup("marker", 0);
    await eventually(() => expect(seen).toEqual(["marker"]));
    subscription.unsubscribe();
  });

  it("can have 20 000 members", async () => {
    const backend = await database.open();
    await backend.initGroup(
      "large",
      Array.from({ length: 20_000 }, (_, index) => `member ${index}`),
    );
    expect(await backend.deleteGroup("large")).toBe(true);
    expect(await rowsOf("large")).toEqual({ states: 0, members: 0, counted: 0 });
  });
});
