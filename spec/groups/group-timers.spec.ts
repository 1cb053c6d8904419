import { BackendCore } from "../../lib/backend-core";
import { resolveOptions } from "../../lib/options";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("deadlines of groups", () => {
  const database = specDatabase("group timers");
  let core: BackendCore;
  beforeEach(() => {
    core = new BackendCore(database.pool, resolveOptions({ schema: database.schema }));
  });
  afterEach(async () => core.close(0));

  it("are kept only for groups that are open and watched", async () => {
    const backend = await database.open();
    const { groups } = core;
    const groupIds = Array.from({ length: 100 }, (_, index) => `g${index}`);
    for (const groupId of groupIds) await backend.initGroup(groupId, 1, { deadlineMs: 86_400_000 });
    const subscriptions = groupIds.map((groupId) => groups.group$(groupId).subscribe());
    await eventually(() => expect(groups.deadlines.size).toBe(100));
    for (const subscription of subscriptions.slice(0, 50)) subscription.unsubscribe();
    expect(groups.deadlines.size).toBe(50);
    await Promise.all(groupIds.map(async (groupId) => backend.completeGroupMember(groupId, "a", 1)));
    await eventually(() => expect(subscriptions.every(({ closed }) => closed)).toBe(true));
    expect(groups.deadlines.size).toBe(0);
  });
});
