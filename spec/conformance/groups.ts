import assert from "node:assert/strict";
import { eventually } from "./eventually";
import { collect, type ConformingBackend, longMs, type Specs } from "./suite";

const conflict = { name: "GroupConflictError", code: "GROUP_CONFLICT" };

/** The counts of a group. */
async function countsOf(backend: ConformingBackend, groupId: string): Promise<readonly unknown[] | undefined> {
  const progress = await backend.getGroup(groupId);
  return progress && [progress.total, progress.completed, progress.failed, progress.done];
}

export const groupSpecs: Specs = {
  "counts the members, and tells each how many are completed": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    assert.equal(await one.getGroup(groupId), undefined);
    assert.deepEqual(await one.getGroupResults(groupId), []);
    await one.initGroup(groupId, 3);
    const open = { groupId, total: 3, completed: 0, failed: 0, done: false };
    assert.deepEqual(await other.getGroup(groupId), open);
    assert.equal(await other.completeGroupMember(groupId, "b", { n: 2 }), 1);
    assert.equal(await one.completeGroupMember(groupId, "c", [3]), 2);
    assert.deepEqual(await one.getGroup(groupId), { ...open, completed: 2 });
    assert.equal(await other.completeGroupMember(groupId, "a", "one"), 3);
    assert.deepEqual(await one.getGroup(groupId), { ...open, completed: 3, done: true });
    assert.deepEqual(await other.getGroupResults(groupId), ["one", { n: 2 }, [3]]);
  },

  "keeps groups apart, and members apart from tasks": async (suite) => {
    const backend = await suite.open();
    const [one, other] = [suite.id("one"), suite.id("other")];
    await backend.initGroup(one, 1);
    await backend.initGroup(other, 1);
    await backend.completeGroupMember(one, suite.id("m"), 1);
    await backend.store(suite.id("m"), 2);
    assert.deepEqual(await countsOf(backend, other), [1, 0, 0, false]);
    assert.deepEqual(await backend.getGroupResults(one), [1]);
    assert.equal(await backend.get(suite.id("m")), 2);
    assert.equal(await backend.get(one), undefined);
  },

  "gives results in declared order": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("declared");
    await one.initGroup(groupId, ["z", "a", "m"]);
    await other.completeGroupMember(groupId, "a", 2);
    await other.completeGroupMember(groupId, "m", 3);
    assert.deepEqual(await one.getGroupResults(groupId), [2, 3]);
    await one.completeGroupMember(groupId, "z", 1);
    assert.deepEqual(await other.getGroupResults(groupId), [1, 2, 3]);
    assert.deepEqual(await other.waitGroup(groupId, 0), [1, 2, 3]);
  },

  "gives results by task id if members are not declared": async (suite) => {
    const backend = await suite.open();
    const groupId = suite.id("counted");
    // By bytes, whatever the collation of a database, and not by UTF-16 code units.
    const ids = ["1", "10", "2", "B", "a", "a b", "aa", "b", "\u00e9", "\ufb01", "\u{1f600}"];
    await backend.initGroup(groupId, ids.length);
    for (const taskId of [...ids].reverse()) await backend.completeGroupMember(groupId, taskId, taskId);
    assert.deepEqual(await backend.getGroupResults(groupId), ids);
    assert.deepEqual(await backend.waitGroup(groupId, 0), ids);
  },

  "counts a member once, and keeps its latest result": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("again");
    await one.initGroup(groupId, 2);
    assert.equal(await one.completeGroupMember(groupId, "a", 1), 1);
    assert.equal(await other.completeGroupMember(groupId, "a", 2), 1);
    assert.deepEqual(await countsOf(one, groupId), [2, 1, 0, false]);
    await other.completeGroupMember(groupId, "b", 3);
    assert.equal(await one.completeGroupMember(groupId, "a", 4), 2);
    assert.deepEqual(await one.getGroupResults(groupId), [4, 3]);
    assert.deepEqual(await countsOf(one, groupId), [2, 2, 0, true]);
  },

  "counts results that are null or undefined": async (suite) => {
    const backend = await suite.open();
    const groupId = suite.id("null");
    await backend.initGroup(groupId, ["a", "b", "c"]);
    assert.equal(await backend.completeGroupMember(groupId, "a", null), 1);
    assert.equal(await backend.completeGroupMember(groupId, "b", undefined), 2);
    assert.equal(await backend.completeGroupMember(groupId, "a", null), 2);
    assert.equal(await backend.completeGroupMember(groupId, "c", false), 3);
    assert.deepEqual(await backend.waitGroup(groupId, 0), [null, null, false]);
  },

  "has a group of 0 done at once": async (suite) => {
    const [one, other] = await suite.openTwo();
    await one.initGroup(suite.id("count"), 0);
    await one.initGroup(suite.id("ids"), []);
    for (const groupId of [suite.id("count"), suite.id("ids")]) {
      assert.deepEqual(await countsOf(other, groupId), [0, 0, 0, true]);
      assert.deepEqual(await other.waitGroup(groupId, 0), []);
      await assert.rejects(other.completeGroupMember(groupId, "a", 1), conflict);
    }
  },

  "takes members before it knows the group, and is done when it is told the size": async (suite) => {
    const [one, other] = await suite.openTwo();
    for (const members of [2, ["b", "a"]]) {
      const groupId = suite.id(`early ${typeof members}`);
      assert.equal(await one.completeGroupMember(groupId, "a", 1), 1);
      assert.equal(await other.failGroupMember(groupId, "b", new Error("no")), 1);
      assert.equal(await other.completeGroupMember(groupId, "b", 2), 2);
      assert.deepEqual(await countsOf(one, groupId), [null, 2, 0, false]);
      assert.deepEqual(await one.getGroupResults(groupId), [1, 2]);
      await one.initGroup(groupId, members);
      assert.deepEqual(await countsOf(other, groupId), [2, 2, 0, true]);
      assert.deepEqual(await other.getGroupResults(groupId), members === 2 ? [1, 2] : [2, 1]);
    }
  },

  "takes being initialised again with the same for a no-op": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [counted, declared] = [suite.id("counted"), suite.id("declared")];
    for (const backend of [one, other, one]) {
      await backend.initGroup(counted, 2);
      await backend.initGroup(declared, ["a", "b"]);
    }
    await one.completeGroupMember(counted, "a", 1);
    await other.initGroup(counted, 2);
    assert.deepEqual(await countsOf(one, counted), [2, 1, 0, false]);
    await one.completeGroupMember(counted, "b", 1);
    await other.initGroup(counted, 2);
    assert.deepEqual(await countsOf(one, counted), [2, 2, 0, true]);
    assert.deepEqual(await countsOf(one, declared), [2, 0, 0, false]);
  },

  "refuses another total, and other members": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [counted, declared] = [suite.id("counted"), suite.id("declared")];
    await one.initGroup(counted, 2);
    await one.initGroup(declared, ["a", "b"]);
    for (const members of [0, 1, 3, ["a"], ["a", "b", "c"]])
      await assert.rejects(other.initGroup(counted, members), { ...conflict, groupId: counted });
    for (const members of [3, ["a"], ["a", "c"], ["a", "b", "c"]])
      await assert.rejects(other.initGroup(declared, members), { ...conflict, groupId: declared });
    assert.deepEqual(await countsOf(one, counted), [2, 0, 0, false]);
    assert.deepEqual(await countsOf(one, declared), [2, 0, 0, false]);
  },

  "refuses a member that is not among the declared, and changes nothing": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, ["a", "b"]);
    await assert.rejects(other.completeGroupMember(groupId, "c", 1), { ...conflict, groupId });
    await assert.rejects(other.failGroupMember(groupId, "c", 1), { ...conflict, groupId });
    assert.deepEqual(await countsOf(one, groupId), [2, 0, 0, false]);
    assert.deepEqual(await one.getGroupResults(groupId), []);
    await one.completeGroupMember(groupId, "a", 1);
    await one.completeGroupMember(groupId, "b", 2);
    await assert.rejects(other.completeGroupMember(groupId, "c", 3), conflict);
    assert.deepEqual(await other.waitGroup(groupId, 0), [1, 2]);
  },

  "refuses more members than the total, and changes nothing": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 2);
    await one.completeGroupMember(groupId, "a", 1);
    await one.failGroupMember(groupId, "b", new Error("no"));
    await assert.rejects(other.completeGroupMember(groupId, "c", 3), { ...conflict, groupId });
    await assert.rejects(other.failGroupMember(groupId, "c", 3), { ...conflict, groupId });
    assert.deepEqual(await countsOf(other, groupId), [2, 1, 1, true]);
    assert.equal(await one.completeGroupMember(groupId, "b", 2), 2);
    assert.deepEqual(await other.getGroupResults(groupId), [1, 2]);
  },

  "takes no more than the total of members that are completed at once": async (suite) => {
    const backends = await suite.openSome(4);
    const groupId = suite.id("g");
    await backends[0]?.initGroup(groupId, 5);
    const calls = Array.from({ length: 20 }, async (_, index) =>
      backends[index % 4]?.completeGroupMember(groupId, `m${index}`, index),
    );
    const settled = await Promise.allSettled(calls);
    const told = settled.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    assert.deepEqual(told.sort(), [1, 2, 3, 4, 5]);
    for (const each of settled)
      if (each.status === "rejected") assert.equal((each.reason as { code: string }).code, conflict.code);
    assert.deepEqual(backends[1] && (await countsOf(backends[1], groupId)), [5, 5, 0, true]);
  },

  "refuses a size that finished members contradict, and goes on without it": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    for (const taskId of ["a", "b"]) await one.completeGroupMember(groupId, taskId, taskId);
    await one.failGroupMember(groupId, "c", new Error("no"));
    for (const members of [0, 2, ["a", "b"], ["a", "b", "d"], ["a", "b", "d", "e"]])
      await assert.rejects(other.initGroup(groupId, members), { ...conflict, groupId });
    assert.deepEqual(await countsOf(one, groupId), [null, 2, 1, false]);
    await other.initGroup(groupId, ["c", "b", "a", "d"]);
    assert.equal(await one.completeGroupMember(groupId, "d", "d"), 3);
    assert.equal(await one.completeGroupMember(groupId, "c", "c"), 4);
    assert.deepEqual(await other.getGroupResults(groupId), ["c", "b", "a", "d"]);
  },

  "deletes a group with its members, and tells whether there was one": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("deleted");
    assert.equal(await one.deleteGroup(groupId), false);
    await one.initGroup(groupId, ["a", "b"]);
    await one.completeGroupMember(groupId, "a", 1);
    await one.failGroupMember(groupId, "b", new Error("no"));
    const claim = await one.claimGroup(groupId, { leaseMs: 60_000 });
    assert.equal(await other.deleteGroup(groupId), true);
    assert.equal(await one.deleteGroup(groupId), false);
    assert.equal(await one.getGroup(groupId), undefined);
    assert.deepEqual(await one.getGroupResults(groupId), []);
    assert.equal(await one.claimGroup(groupId), undefined);
    assert.equal(await claim?.ack(), false);
    await assert.rejects(one.waitGroup(groupId, 0), { code: "WAIT_TIMEOUT", groupId });
    // Its id is free again, also for another size and other members.
    await one.initGroup(groupId, ["c"]);
    assert.equal(await other.completeGroupMember(groupId, "c", 3), 1);
    assert.deepEqual(await one.waitGroup(groupId, 0), [3]);
    assert.ok((await other.claimGroup(groupId)) !== undefined);
  },

  "deletes a group that was never initialised, and one that has expired without telling of it": async (suite) => {
    const backend = await suite.open();
    const [begun, expired] = [suite.id("begun"), suite.id("expired")];
    await backend.completeGroupMember(begun, "a", 1);
    assert.equal(await backend.deleteGroup(begun), true);
    assert.equal(await backend.getGroup(begun), undefined);
    await backend.initGroup(expired, 0, { ttlMs: 1 });
    await eventually(async () => assert.equal(await backend.getGroup(expired), undefined));
    assert.equal(await backend.deleteGroup(expired), false);
  },

  "counts a member that finishes after its group was deleted to a new group": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("late");
    await one.initGroup(groupId, 2);
    await one.completeGroupMember(groupId, "a", 1);
    await other.deleteGroup(groupId);
    assert.equal(await one.completeGroupMember(groupId, "b", 2), 1);
    assert.deepEqual(await countsOf(other, groupId), [null, 1, 0, false]);
    assert.deepEqual(await other.getGroupResults(groupId), [2]);
  },

  "lets waits and streams of a deleted group go on with the next group of its id": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("followed");
    await one.initGroup(groupId, 2, { deadlineMs: 600_000 });
    const progress = collect(other.group$(groupId));
    await eventually(() => assert.equal(progress.seen.length, 1));
    const results = other.waitGroup(groupId, longMs);
    await one.deleteGroup(groupId);
    await one.initGroup(groupId, ["x"]);
    await one.completeGroupMember(groupId, "x", "next");
    assert.deepEqual(await results, ["next"]);
    assert.equal(await progress.ended, "completed");
    assert.deepEqual(progress.seen.at(-1), { groupId, total: 1, completed: 1, failed: 0, done: true });
  },
};
