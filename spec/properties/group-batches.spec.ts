import fc from "fast-check";
import { escapeIdentifier } from "pg";
import { MemoryResultBackend, type ResultBackend } from "kojin-postgres";
import { type Conflict, memberConflict } from "../../lib/groups/group-rules";
import { specDatabase } from "../support/spec-database";
import { bounded } from "./support/arbitraries";

interface Finish {
  readonly group: number;
  readonly taskId: string;
  readonly isFailed: boolean;
}

interface Member extends Finish {
  readonly groupId: string;
}

interface Verdict {
  readonly completed: number;
  readonly conflict: Conflict | null;
}

const taskIds = ["a", "b", "c", "d", "e", "f"];
const anyMembers = fc.oneof(
  fc.constant(undefined),
  fc.nat({ max: taskIds.length }),
  fc.uniqueArray(fc.constantFrom(...taskIds)),
);
const anyGroups = fc.array(anyMembers, { minLength: 1, maxLength: 4 });
const anyBatch = fc.uniqueArray(
  fc.record({ group: fc.nat({ max: 3 }), taskId: fc.constantFrom(...taskIds), isFailed: fc.boolean() }),
  { minLength: 1, maxLength: 16, selector: ({ group, taskId }) => `${group} ${taskId}` },
);

describe("any batch of members", () => {
  const database = specDatabase("group batches");
  const schema = escapeIdentifier(database.schema);
  let runs = 0;

  /** Finishes the members one after the other. Returns the count, or the message of the conflict, of each. */
  async function finishInTurn(backend: ResultBackend, batch: readonly Member[]): Promise<(number | string)[]> {
    const completed = async ({ groupId }: Member): Promise<number> => (await backend.getGroup(groupId))?.completed ?? 0;
    const outcomes: { count: number | string; isRepeated: boolean }[] = [];
    for (const member of batch) {
      const { groupId, taskId, isFailed } = member;
      const before = await completed(member);
      const finishing = isFailed
        ? backend.failGroupMember(groupId, taskId, new Error("no"))
        : backend.completeGroupMember(groupId, taskId, { taskId });
      const count = await finishing.catch((error: unknown) => (error as Error).message);
      outcomes.push({ count, isRepeated: count === before });
    }
    // A member that adds nothing to the count gets that of the whole batch.
    return Promise.all(
      outcomes.map(async ({ count, isRepeated }, index) => (isRepeated ? completed(batch[index] as Member) : count)),
    );
  }

  it("has the outcomes that its members would have one after the other", async () => {
    const backend = await database.open();
    const property = fc.asyncProperty(anyGroups, fc.array(anyBatch, { maxLength: 4 }), async (groups, batches) => {
      runs += 1;
      const model = new MemoryResultBackend();
      const groupIds = groups.map((_, index) => `${runs} ${index}`);
      for (const [index, members] of groups.entries())
        if (members !== undefined)
          for (const each of [backend, model]) await each.initGroup(groupIds[index] ?? "", members);
      for (const given of batches) {
        const batch = given.map((each) => ({ ...each, groupId: groupIds[each.group % groups.length] ?? "" }));
        // Groups may be fewer than the numbers in the batch, and a pair must not repeat.
        const unique = [...new Map(batch.map((each) => [`${each.groupId} ${each.taskId}`, each])).values()];
        const verdicts = await database.sql<Verdict & { place: number }>(
          `select place, completed_count as completed, conflict
           from ${schema}.kojin_finish_members($1, $2, $3, $4) order by place`,
          [
            unique.map(({ groupId }) => groupId),
            unique.map(({ taskId }) => taskId),
            unique.map(({ taskId, isFailed }) => (isFailed ? "" : JSON.stringify({ taskId }))),
            unique.map(({ isFailed }) => (isFailed ? JSON.stringify({ name: "Error", message: "no" }) : "")),
          ],
        );
        expect(verdicts.map(({ place }) => place)).toEqual(unique.map((_, index) => index + 1));
        const outcomes = unique.map(({ groupId, taskId }, index) => {
          const { completed, conflict } = verdicts[index] ?? { completed: NaN, conflict: null };
          return conflict === null ? completed : memberConflict(groupId, taskId, conflict).message;
        });
        expect(outcomes).toEqual(await finishInTurn(model, unique));
        for (const groupId of groupIds) {
          expect(await backend.getGroup(groupId)).toEqual(await model.getGroup(groupId));
          expect(await backend.getGroupResults(groupId)).toEqual(await model.getGroupResults(groupId));
        }
      }
      await model.close();
    });
    await fc.assert(property, { numRuns: 60, ...bounded });
  });
});
