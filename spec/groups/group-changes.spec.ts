import type { GroupProgress, PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("groupChanges$", () => {
  const database = specDatabase("group changes");

  function follow(backend: PostgresResultBackend): { seen: GroupProgress[]; errors: Error[]; stop: () => void } {
    const [seen, errors]: [GroupProgress[], Error[]] = [[], []];
    const subscription = backend.groupChanges$().subscribe({
      next: (progress) => seen.push(progress),
      error: (error: Error) => errors.push(error),
    });
    return { seen, errors, stop: () => subscription.unsubscribe() };
  }

  const stateOf = (groupId: string, completed: number, failed = 0, done = false): unknown =>
    expect.objectContaining({ groupId, completed, failed, done });

  it("shows the groups that are open, then every change until they are done, and none twice", async () => {
    const storing = await database.open();
    await storing.initGroup("done before", 1);
    await storing.completeGroupMember("done before", "a", 1);
    await storing.initGroup("open", 3);
    await storing.completeGroupMember("open", "a", 1);
    // Opened now, so that no notification of what was done before is still on its way.
    const watching = await database.open();
    const { seen, stop } = follow(watching);
    await eventually(() => expect(seen).toEqual([stateOf("open", 1)]));
    await watching.ready();
    await storing.failGroupMember("open", "b", new Error("its own"));
    await eventually(() => expect(seen).toContainEqual(stateOf("open", 1, 1)));
    await storing.completeGroupMember("open", "c", 1);
    await eventually(() => expect(seen).toContainEqual(stateOf("open", 2, 1, true)));
    // A group that is read for other reasons is no news.
    await watching.getGroup("done before");
    await storing.initGroup("new", 2);
    await eventually(() => expect(seen).toContainEqual(stateOf("new", 0)));
    expect(seen.map(({ groupId }) => groupId)).not.toContain("done before");
    expect(new Set(seen.map((each) => JSON.stringify(each))).size).toBe(seen.length);
    expect(watching.stats().feeds).toBe(1);
    stop();
    expect(watching.stats().feeds).toBe(0);
  });

  it("tells a later subscriber of the open groups, too", async () => {
    const [watching, storing] = [await database.open(), await database.open()];
    const first = follow(watching);
    await storing.initGroup("shared", 2);
    await eventually(() => expect(first.seen).toContainEqual(stateOf("shared", 0)));
    const second = follow(watching);
    expect(second.seen).toContainEqual(stateOf("shared", 0));
    await storing.completeGroupMember("shared", "a", 1);
    await storing.completeGroupMember("shared", "b", 1);
    await eventually(() => expect(second.seen).toContainEqual(stateOf("shared", 2, 0, true)));
    await eventually(() => expect(first.seen).toContainEqual(stateOf("shared", 2, 0, true)));
    first.stop();
    second.stop();
  });

  it("looks again at what was open once a lost listener is back", async () => {
    const [watching, storing] = [await database.open(), await database.open()];
    await watching.ready();
    const { seen, stop } = follow(watching);
    await storing.initGroup("interrupted", 2);
    await eventually(() => expect(seen).toContainEqual(stateOf("interrupted", 0)));
    const client = await database.pool.connect();
    // Not announced, as if the listener had been away meanwhile.
    await client.query("begin; set local kojin.notify = 'off'");
    await storing.completeGroupMember("interrupted", "a", 1, { client });
    await storing.completeGroupMember("interrupted", "b", 1, { client });
    await client.query("commit");
    client.release();
    await database.terminateListeners();
    await eventually(() => expect(seen).toContainEqual(stateOf("interrupted", 2, 0, true)), { timeoutMs: 20_000 });
    stop();
  });

  it("errors when the backend is closed, and is an error from then on", async () => {
    const backend = await database.open();
    const { errors } = follow(backend);
    await backend.close();
    expect(errors).toMatchObject([{ code: "BACKEND_CLOSED" }]);
    expect(follow(backend).errors).toMatchObject([{ code: "BACKEND_CLOSED" }]);
  });
});
