import assert from "node:assert/strict";
import { eventually } from "./eventually";
import { collect, type Collected, type ConformingBackend, longMs, type Specs, type Suite } from "./suite";
import type { GroupProgress } from "kojin-postgres";

const groupCount = 50;
const memberIds = Array.from({ length: 8 }, (_, index) => `m${index}`);

const pick = <T>(all: readonly T[], index: number): T => all[index % all.length] as T;

function* everyMember(suite: Suite): Generator<readonly [groupId: string, taskId: string]> {
  for (const taskId of memberIds)
    for (let group = 0; group < groupCount; group += 1) yield [suite.id(`g${group}`), taskId];
}

/** Waits until every backend has heard of all groups and of one more, and asserts that it heard of each once. */
async function assertHeardOnce(
  suite: Suite,
  backends: readonly ConformingBackend[],
  heard: readonly Collected<GroupProgress>[],
): Promise<void> {
  const counted = (feed: Collected<GroupProgress>): string[] =>
    feed.seen.map(({ groupId }) => groupId).filter((groupId) => suite.isOwn(groupId));
  await eventually(() => heard.forEach((feed) => assert.ok(new Set(counted(feed)).size >= groupCount)));
  await pick(backends, 0).initGroup(suite.id("last"), 0);
  await eventually(() => heard.forEach((feed) => assert.ok(counted(feed).includes(suite.id("last")))));
  const expected = [
    ...Array.from({ length: groupCount }, (_, group) => suite.id(`g${group}`)),
    suite.id("last"),
  ].sort();
  for (const feed of heard) assert.deepEqual(counted(feed).sort(), expected);
}

/** Has 16 callers claim each group at the same time, and asserts that one gets it. */
async function assertClaimedOnce(suite: Suite, backends: readonly ConformingBackend[]): Promise<void> {
  for (let group = 0; group < groupCount; group += 1) {
    const groupId = suite.id(`g${group}`);
    const claims = await Promise.all(
      Array.from({ length: 16 }, async (_, index) => pick(backends, index).claimGroup(groupId)),
    );
    assert.equal(claims.filter((claim) => claim !== undefined).length, 1);
  }
}

export const groupRaceSpecs: Specs = {
  "tells each of 8 members completed at once through 4 backends another number, in 50 groups at once": async (
    suite,
  ) => {
    const backends = await suite.openSome(4);
    const heard = backends.map((backend) => collect(backend.groupCompletions$()));
    for (let group = 0; group < groupCount; group += 1)
      await pick(backends, group).initGroup(suite.id(`g${group}`), memberIds.length);
    const told = new Map<string, number[]>();
    await Promise.all(
      [...everyMember(suite)].map(async ([groupId, taskId], index) => {
        const number = await pick(backends, index + (index >> 3)).completeGroupMember(groupId, taskId, index);
        told.set(groupId, [...(told.get(groupId) ?? []), number]);
      }),
    );
    assert.equal(told.size, groupCount);
    for (const numbers of told.values()) assert.deepEqual(numbers.sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
    await assertHeardOnce(suite, backends, heard);
    await assertClaimedOnce(suite, backends);
  },

  "counts right, completes once and is claimed once if every member is sent twice": async (suite) => {
    const backends = await suite.openSome(4);
    const heard = backends.map((backend) => collect(backend.groupCompletions$()));
    for (let group = 0; group < groupCount; group += 1)
      await pick(backends, group).initGroup(suite.id(`g${group}`), memberIds.length);
    const sends = [...everyMember(suite), ...everyMember(suite)];
    await Promise.all(
      sends.map(async ([groupId, taskId], index) =>
        pick(backends, index + (index >> 3)).completeGroupMember(groupId, taskId, taskId),
      ),
    );
    await assertHeardOnce(suite, backends, heard);
    for (let group = 0; group < groupCount; group += 1) {
      const groupId = suite.id(`g${group}`);
      const progress = { groupId, total: 8, completed: 8, failed: 0, done: true };
      assert.deepEqual(await pick(backends, group).getGroup(groupId), progress);
      assert.deepEqual(await pick(backends, group).getGroupResults(groupId), memberIds);
    }
    await assertClaimedOnce(suite, backends);
  },

  "gets a group done, once, whichever of its size and its members is first": async (suite) => {
    const backends = await suite.openSome(4);
    const heard = backends.map((backend) => collect(backend.groupCompletions$()));
    for (let round = 0; round < groupCount; round += 1) {
      const groupId = suite.id(`g${round}`);
      const waits = pick(backends, 3).waitGroup(groupId, longMs);
      const complete = async (taskId: string, index: number): Promise<number> =>
        pick(backends, round + index).completeGroupMember(groupId, taskId, taskId);
      const init = async (): Promise<void> =>
        pick(backends, round + 2).initGroup(groupId, round % 2 === 0 ? 2 : ["a", "b"]);
      const calls = [async () => complete("a", 0), async () => complete("b", 1), init];
      const results = await Promise.all(calls.map(async (_, index) => pick(calls, index + round)()));
      assert.deepEqual(results.filter((each) => each !== undefined).sort(), [1, 2]);
      assert.deepEqual(await waits, ["a", "b"]);
    }
    await assertHeardOnce(suite, backends, heard);
  },

  "agrees with itself where members fail and succeed at once": async (suite) => {
    const backends = await suite.openSome(4);
    const groupId = suite.id("g");
    const waits = pick(backends, 0)
      .waitGroup(groupId, longMs)
      .catch((error: unknown) => error);
    await pick(backends, 1).initGroup(groupId, memberIds);
    const calls = memberIds.flatMap((taskId, index) => [
      pick(backends, index).failGroupMember(groupId, taskId, new Error("no")),
      pick(backends, index + 1).completeGroupMember(groupId, taskId, taskId),
      pick(backends, index + 2).failGroupMember(groupId, taskId, new Error("no")),
    ]);
    await Promise.all(calls);
    await waits;
    for (const backend of backends) {
      assert.deepEqual(await backend.getGroup(groupId), { groupId, total: 8, completed: 8, failed: 0, done: true });
      assert.deepEqual(await backend.waitGroup(groupId, 0), memberIds);
    }
  },
};
