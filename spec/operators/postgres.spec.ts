import { from, lastValueFrom, map, toArray } from "rxjs";
import { BackendClosedError } from "kojin-postgres";
import { awaitResults, groupProgress, type GroupState, settleResults } from "kojin-postgres/operators";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("operators on a real Postgres", () => {
  const database = specDatabase("operators");

  it("turn 20 000 ids into outcomes, each once, whatever the order in which they are stored", async () => {
    // The other specs may leave it little of the processors.
    const storing = await database.open({ retryTimeoutMs: 60_000 });
    const waiting = await database.open();
    const ids = Array.from({ length: 20_000 }, (_, index) => `many ${index}`);
    const outcomes = lastValueFrom(from(ids).pipe(awaitResults<number>(waiting, { timeoutMs: 60_000 }), toArray()));
    expect(waiting.stats().waiting).toBe(10_000);
    const backwards = ids.map((id, index) => ({ id, index })).reverse();
    await Promise.all(backwards.map(async ({ id, index }) => storing.store(id, index)));
    const values = new Map((await outcomes).map((each) => [each.taskId, each.status === "fulfilled" && each.value]));
    expect((await outcomes).length).toBe(20_000);
    expect(ids.every((id, index) => values.get(id) === index)).toBe(true);
  });

  it("settle what is stored, what fails, and what does not come in time", async () => {
    const [storing, waiting] = [await database.open(), await database.open()];
    await waiting.ready();
    const settled = lastValueFrom(
      from(["never", "fails", "comes"]).pipe(settleResults<number>(waiting, { timeoutMs: 2_000 })),
    );
    await storing.store("comes", 1);
    await storing.fail("fails", new TypeError("no"));
    const codes = (await settled).map((each) =>
      each.status === "fulfilled" ? each.value : (each.reason as { code: unknown }).code,
    );
    expect(codes).toEqual(["WAIT_TIMEOUT", "TASK_FAILED", 1]);
  });

  it("show many groups until all of them are done or have run out of time", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const groupIds = Array.from({ length: 20 }, (_, index) => `g${index}`);
    for (const groupId of groupIds) await storing.initGroup(groupId, 5);
    await storing.initGroup("late", 1, { deadlineMs: 500 });
    const latest = new Map<string, GroupState>();
    const ended = lastValueFrom(
      from([...groupIds, "late"]).pipe(
        groupProgress(watching),
        map((state) => latest.set(state.groupId, state)),
      ),
    );
    for (const groupId of groupIds)
      await Promise.all([1, 2, 3, 4, 5].map(async (member) => storing.completeGroupMember(groupId, `m${member}`, 1)));
    await ended;
    expect(groupIds.every((groupId) => latest.get(groupId)?.done)).toBe(true);
    expect(latest.get("late")).toMatchObject({ done: false, expired: true, total: 1 });
  });

  it("let go of everything when they are unsubscribed from, and error when the backend closes", async () => {
    const backend = await database.open();
    const ids = Array.from({ length: 1_000 }, (_, index) => `open ${index}`);
    const both = [
      from(ids)
        .pipe(awaitResults(backend, { timeoutMs: Infinity }))
        .subscribe(),
      from(ids).pipe(groupProgress(backend)).subscribe(),
    ];
    expect(backend.stats()).toMatchObject({ waiting: 1_000, waitingGroups: 1_000 });
    for (const subscription of both) subscription.unsubscribe();
    expect(backend.stats()).toMatchObject({ waiting: 0, waitingGroups: 0 });
    const cut = lastValueFrom(from(ids).pipe(settleResults(backend, { timeoutMs: Infinity }))).catch(
      (error: unknown) => error,
    );
    await eventually(() => expect(backend.stats().waiting).toBe(1_000));
    await backend.close();
    expect(await cut).toBeInstanceOf(BackendClosedError);
  });
});
