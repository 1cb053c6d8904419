import assert from "node:assert/strict";
import { eventually } from "./eventually";
import { assertEndsWith, assertReleased, collect, type Specs } from "./suite";

const idsOf = (outcomes: readonly { readonly taskId: string }[]): string[] => outcomes.map(({ taskId }) => taskId);

export const groupStreamSpecs: Specs = {
  "group$ emits how far the group is, then its changes, and completes when it is done": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.completeGroupMember(groupId, "a", 1);
    const stream = collect(other.group$(groupId));
    await eventually(() =>
      assert.deepEqual(stream.seen, [{ groupId, total: null, completed: 1, failed: 0, done: false }]),
    );
    await one.initGroup(groupId, 3);
    await eventually(() => assert.equal(stream.seen.at(-1)?.total, 3));
    await one.failGroupMember(groupId, "b", new Error("no"));
    await eventually(() => assert.equal(stream.seen.at(-1)?.failed, 1));
    await one.completeGroupMember(groupId, "c", 1);
    assert.equal(await stream.ended, "completed");
    assert.deepEqual(stream.seen.at(-1), { groupId, total: 3, completed: 2, failed: 1, done: true });
    assert.equal(stream.seen.filter(({ done }) => done).length, 1);
    await assertReleased(other);
  },

  "group$ emits once, and completes, for a group that is done": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 0);
    const stream = collect(other.group$(groupId));
    assert.equal(await stream.ended, "completed");
    assert.deepEqual(stream.seen, [{ groupId, total: 0, completed: 0, failed: 0, done: true }]);
  },

  "streams emit nothing of an unknown group until it exists": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("unknown");
    const [progress, members, results] = [
      collect(other.group$(groupId)),
      collect(other.groupMembers$(groupId)),
      collect(other.groupResults$(groupId)),
    ];
    // These streams would have emitted before the stream of another group, which was opened later.
    await one.initGroup(suite.id("marker"), 0);
    await collect(other.groupResults$(suite.id("marker"))).ended;
    assert.deepEqual([progress.seen, members.seen, results.seen], [[], [], []]);
    await one.initGroup(groupId, 1);
    await one.completeGroupMember(groupId, "a", "A");
    assert.deepEqual(await Promise.all([progress.ended, members.ended, results.ended]), [
      "completed",
      "completed",
      "completed",
    ]);
    assert.equal(progress.seen.at(-1)?.done, true);
    assert.deepEqual(members.seen, [{ taskId: "a", status: "fulfilled", value: "A" }]);
    assert.deepEqual(results.seen, [["A"]]);
  },

  "groupMembers$ emits members in the order in which they finished, also to who comes late": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const finished = ["d", "a", "c", "b"];
    await one.initGroup(groupId, ["a", "b", "c", "d"]);
    const early = collect(other.groupMembers$(groupId));
    for (const taskId of finished.slice(0, 2)) await one.completeGroupMember(groupId, taskId, taskId);
    const between = collect(other.groupMembers$(groupId));
    await eventually(() => assert.deepEqual(idsOf(between.seen), ["d", "a"]));
    for (const taskId of finished.slice(2)) await one.completeGroupMember(groupId, taskId, taskId);
    const late = collect(one.groupMembers$(groupId));
    for (const stream of [early, between, late]) {
      assert.equal(await stream.ended, "completed");
      assert.deepEqual(
        stream.seen,
        finished.map((taskId) => ({ taskId, status: "fulfilled", value: taskId })),
      );
    }
    await assertReleased(other);
  },

  "groupMembers$ emits a member once, also if it is completed again, or succeeds after it failed": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 3);
    const early = collect(other.groupMembers$<string>(groupId));
    await one.failGroupMember(groupId, "a", new Error("no"));
    await eventually(() => assert.deepEqual(idsOf(early.seen), ["a"]));
    await one.completeGroupMember(groupId, "a", "retried");
    await one.completeGroupMember(groupId, "b", "first");
    await eventually(() => assert.deepEqual(idsOf(early.seen), ["a", "b"]));
    await one.completeGroupMember(groupId, "b", "second");
    await one.completeGroupMember(groupId, "c", "c");
    const late = collect(other.groupMembers$<string>(groupId));
    assert.deepEqual([await early.ended, await late.ended], ["completed", "completed"]);
    assert.deepEqual(
      [idsOf(early.seen), idsOf(late.seen).sort()],
      [
        ["a", "b", "c"],
        ["a", "b", "c"],
      ],
    );
    assert.equal(early.seen[0]?.status, "rejected");
    const values = late.seen.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : "failed"));
    assert.deepEqual(values.sort(), ["c", "retried", "second"]);
  },

  "streams follow the next group of a deleted group's id": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 3);
    const [progress, members, results] = [
      collect(other.group$(groupId)),
      collect(other.groupMembers$(groupId)),
      collect(other.groupResults$(groupId)),
    ];
    for (const taskId of ["a", "b"]) await one.completeGroupMember(groupId, taskId, `old ${taskId}`);
    await eventually(() => assert.deepEqual(idsOf(members.seen), ["a", "b"]));
    await eventually(() => assert.equal(progress.seen.at(-1)?.completed, 2));
    await one.deleteGroup(groupId);
    await one.initGroup(groupId, 3);
    for (const taskId of ["b", "c", "d"]) await one.completeGroupMember(groupId, taskId, taskId);
    for (const stream of [progress, members, results]) assert.equal(await stream.ended, "completed");
    assert.deepEqual(progress.seen.at(-1), { groupId, total: 3, completed: 3, failed: 0, done: true });
    assert.deepEqual(idsOf(members.seen), ["a", "b", "b", "c", "d"]);
    assert.deepEqual(results.seen, [["b", "c", "d"]]);
  },

  "groupMembers$ emits a failure as an outcome, and goes on": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const stream = collect(other.groupMembers$(groupId));
    await one.initGroup(groupId, 2);
    await one.failGroupMember(groupId, "a", new TypeError("no"));
    await one.completeGroupMember(groupId, "b", null);
    assert.equal(await stream.ended, "completed");
    const [failed, completed] = stream.seen;
    assert.ok(failed?.status === "rejected");
    const { code, taskId, failure } = failed.reason as { code: string; taskId: string; failure: unknown };
    assert.deepEqual([code, taskId, failure], ["TASK_FAILED", "a", { name: "TypeError", message: "no" }]);
    assert.deepEqual(completed, { taskId: "b", status: "fulfilled", value: null });
  },

  "groupMembers$ gives all subscribers the same members, whenever they subscribe, while many finish at once": async (
    suite,
  ) => {
    const backends = await suite.openSome(3);
    const [one, other, third] = backends as [(typeof backends)[0], (typeof backends)[0], (typeof backends)[0]];
    const groupId = suite.id("g");
    const ids = Array.from({ length: 200 }, (_, index) => `m${index}`);
    await one.initGroup(groupId, ids.length);
    const streams = [collect(other.groupMembers$(groupId))];
    const calls = ids.map(async (taskId, index) => {
      const finishing = (index % 2 === 0 ? one : third).completeGroupMember(groupId, taskId, index);
      if (index % 20 === 0) {
        await finishing;
        streams.push(collect(other.groupMembers$(groupId)));
      }
      await finishing;
    });
    await Promise.all(calls);
    streams.push(collect(one.groupMembers$(groupId)));
    for (const { ended } of streams) assert.equal(await ended, "completed");
    const [first = [], ...others] = streams.map(({ seen }) => idsOf(seen));
    for (const each of others) assert.deepEqual(each, first);
    assert.deepEqual([...first].sort(), ids.sort());
  },

  "groupResults$ emits the results once, and errors if members failed": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [good, bad] = [suite.id("good"), suite.id("bad")];
    const [results, failing] = [collect(other.groupResults$(good)), collect(other.groupResults$(bad))];
    for (const groupId of [good, bad]) await one.initGroup(groupId, ["b", "a"]);
    await one.completeGroupMember(good, "a", [1]);
    await one.completeGroupMember(good, "b", null);
    await one.completeGroupMember(bad, "a", 1);
    await one.failGroupMember(bad, "b", new Error("no"));
    assert.equal(await results.ended, "completed");
    assert.deepEqual(results.seen, [[null, [1]]]);
    await assertEndsWith(failing, { code: "GROUP_FAILED", groupId: bad });
    assert.deepEqual(failing.seen, []);
  },

  "streams of a group of 0 complete": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [members, results] = [
      collect(other.groupMembers$(suite.id("g"))),
      collect(other.groupResults$(suite.id("g"))),
    ];
    await one.initGroup(suite.id("g"), 0);
    assert.deepEqual([await members.ended, await results.ended], ["completed", "completed"]);
    assert.deepEqual([members.seen, results.seen], [[], [[]]]);
  },

  "groupCompletions$ emits every group that gets done from now on, once": async (suite) => {
    const [one, other] = await suite.openTwo();
    const own = (stream: { seen: readonly { groupId: string }[] }): unknown[] =>
      stream.seen.filter(({ groupId }) => suite.isOwn(groupId));
    const earlier = collect(other.groupCompletions$());
    await one.initGroup(suite.id("old"), 0);
    // A backend does not emit to a new subscriber what it has emitted to an earlier one.
    await eventually(() => assert.equal(own(earlier).length, 1));
    const feed = collect(other.groupCompletions$());
    const groupId = suite.id("g");
    await one.initGroup(groupId, 2);
    await one.failGroupMember(groupId, "a", new Error("no"));
    await one.completeGroupMember(groupId, "b", 1);
    const done = { groupId, total: 2, completed: 1, failed: 1, done: true };
    await eventually(() => assert.deepEqual(own(feed), [done]));
    await one.completeGroupMember(groupId, "b", 2);
    await one.completeGroupMember(groupId, "a", 1);
    await other.initGroup(suite.id("last"), 0);
    const last = { groupId: suite.id("last"), total: 0, completed: 0, failed: 0, done: true };
    await eventually(() => assert.deepEqual(own(feed), [done, last]));
  },

  "streams are cold, give copies, and let go when they are unsubscribed from": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const cold = [other.group$(groupId), other.groupMembers$(groupId), other.groupResults$(groupId)];
    await assertReleased(other);
    const stopped = cold.map((stream$) => collect<unknown>(stream$));
    const completions = collect(other.groupCompletions$());
    for (const stream of [...stopped, completions]) stream.stop();
    await assertReleased(other);
    const [results, same] = [
      collect(other.groupResults$<number[]>(groupId)),
      collect(other.groupResults$<number[]>(groupId)),
    ];
    await one.initGroup(groupId, 1);
    await one.completeGroupMember(groupId, "a", [1]);
    await Promise.all([results.ended, same.ended]);
    results.seen[0]?.[0]?.push(2);
    assert.deepEqual(same.seen, [[[1]]]);
    assert.deepEqual(
      [...stopped, completions].flatMap(({ seen }) => seen),
      [],
    );
  },
};
