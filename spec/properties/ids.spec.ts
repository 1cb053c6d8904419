import fc from "fast-check";
import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { anyBadId, anyId, bounded } from "./support/arbitraries";

describe("any id", () => {
  const database = specDatabase("any id");
  const schema = escapeIdentifier(database.schema);
  let storing: PostgresResultBackend;
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    storing = await database.open();
    waiting = await database.open();
    await waiting.ready();
  });

  /** Runs repeat ids, so their results must be deleted. */
  async function forgetAll(): Promise<void> {
    for (const table of ["kojin_results", "kojin_groups", "kojin_group_state"])
      await database.sql(`delete from ${schema}.${table}`);
  }

  /** Waits until everything has been read without a result, so that only notifications can bring results. */
  async function untilOpen(waits: number): Promise<void> {
    await eventually(() => {
      const { waiting: tasks, waitingGroups, reads } = waiting.stats();
      expect(tasks + waitingGroups).toBe(waits);
      expect([reads.queued, reads.inFlight]).toEqual([0, 0]);
    });
  }

  const anyIds = fc.uniqueArray(anyId, { minLength: 1, maxLength: 60, size: "max" });

  it("of a task is stored, awaited, read and deleted as the one it is", async () => {
    const property = fc.asyncProperty(anyIds, async (ids) => {
      await forgetAll();
      const before = waiting.stats().wokenBy;
      const waits = Promise.all(ids.map(async (id) => waiting.wait<string>(id, 10_000)));
      await untilOpen(ids.length);
      await Promise.all(ids.map(async (id) => storing.store(id, { id })));
      const expected = ids.map((id) => ({ id }));
      expect(await waits).toEqual(expected);
      expect(waiting.stats().wokenBy).toEqual({ ...before, notification: before.notification + ids.length });
      expect(await Promise.all(ids.map(async (id) => waiting.get(id)))).toEqual(expected);
      const rows = await database.sql<{ task_id: string }>(`select task_id from ${schema}.kojin_results`);
      expect(new Set(rows.map(({ task_id }) => task_id))).toEqual(new Set(ids));
      expect(await Promise.all(ids.map(async (id) => storing.delete(id)))).toEqual(ids.map(() => true));
    });
    await fc.assert(property, { numRuns: 40, ...bounded });
  });

  it("of a group, and of its members, is counted, streamed and read as the one it is", async () => {
    const anyGroup = fc
      .record({ groupId: anyId, members: anyIds, isDeclared: fc.boolean(), isCrateLike: fc.boolean() })
      // The placeholder names of the Rust crate, here as ids of tasks that are no members.
      .map(({ groupId, members, isDeclared, isCrateLike }) => {
        const prefix = `${groupId}:placeholder:`;
        const isPossible = isCrateLike && Buffer.byteLength(prefix) < 500;
        return { groupId, isDeclared, members: isPossible ? members.map((_, index) => `${prefix}${index}`) : members };
      });
    const property = fc.asyncProperty(anyGroup, async ({ groupId, members, isDeclared }) => {
      await forgetAll();
      const before = waiting.stats().wokenBy;
      const results = waiting.waitGroup<string>(groupId, 10_000);
      const streamed = lastValueFrom(waiting.groupMembers$(groupId).pipe(toArray()));
      await untilOpen(1);
      await storing.initGroup(groupId, isDeclared ? members : members.length);
      const told = await Promise.all(members.map(async (id) => storing.completeGroupMember(groupId, id, id)));
      expect(told.toSorted((a, b) => a - b)).toEqual(members.map((_, index) => index + 1));
      if (isDeclared) expect(await results).toEqual(members);
      else expect(new Set(await results)).toEqual(new Set(members));
      const outcomes = (await streamed).map((outcome) => [outcome.taskId, outcome.status] as const);
      expect(outcomes.toSorted()).toEqual(members.map((id) => [id, "fulfilled"] as const).toSorted());
      expect(await waiting.getGroup(groupId)).toMatchObject({ groupId, completed: members.length, done: true });
      const { sweep, deadline, reconnect } = waiting.stats().wokenBy;
      expect({ sweep, deadline, reconnect }).toEqual({
        sweep: before.sweep,
        deadline: before.deadline,
        reconnect: before.reconnect,
      });
    });
    await fc.assert(property, { numRuns: 40, ...bounded });
  });

  it("that is none is refused by every call before anything is sent", async () => {
    const { queries } = storing.stats();
    const property = fc.asyncProperty(anyBadId, async (bad) => {
      const id = bad as string;
      const calls = [
        storing.store(id, 1),
        storing.fail(id, 1),
        storing.get(id),
        storing.wait(id, 1),
        storing.delete(id),
        storing.initGroup(id, 1),
        storing.initGroup("g", ["a", id]),
        storing.completeGroupMember(id, "m", 1),
        storing.completeGroupMember("g", id, 1),
        storing.failGroupMember("g", id, 1),
        storing.getGroup(id),
        storing.waitGroup(id, 1),
        storing.claimGroup(id),
      ];
      const type = typeof bad === "string" ? RangeError : TypeError;
      for (const { status, ...rest } of await Promise.allSettled(calls)) {
        expect(status).toBe("rejected");
        expect("reason" in rest && rest.reason).toBeInstanceOf(type);
      }
      for (const stream of [() => storing.result$(id), () => storing.group$(id), () => storing.groupMembers$(id)])
        expect(stream).toThrow(type);
    });
    await fc.assert(property, { numRuns: 300 });
    expect(storing.stats()).toMatchObject({ queries, waiting: 0, waitingGroups: 0, status: "idle" });
  });
});
