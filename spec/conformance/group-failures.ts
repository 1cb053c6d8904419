import assert from "node:assert/strict";
import type { TaskFailedError } from "kojin-postgres";
import { longMs, rejection, type Specs } from "./suite";

interface GroupFailure {
  readonly name: string;
  readonly code: string;
  readonly groupId: string;
  readonly failures: readonly TaskFailedError[];
}

export const groupFailureSpecs: Specs = {
  "counts a failed member as finished, and tells how many are completed": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 2);
    assert.equal(await one.failGroupMember(groupId, "a", new Error("no")), 0);
    assert.equal(await one.failGroupMember(groupId, "a", new Error("no again")), 0);
    assert.deepEqual(await other.getGroup(groupId), { groupId, total: 2, completed: 0, failed: 1, done: false });
    assert.equal(await other.completeGroupMember(groupId, "b", 1), 1);
    assert.deepEqual(await one.getGroup(groupId), { groupId, total: 2, completed: 1, failed: 1, done: true });
    assert.deepEqual(await one.getGroupResults(groupId), [1]);
  },

  "rejects a wait with every failure, in the order of the members": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const waits = rejection(other.waitGroup(groupId, longMs));
    await one.initGroup(groupId, ["c", "b", "a"]);
    await one.failGroupMember(groupId, "a", new TypeError("first"));
    await one.completeGroupMember(groupId, "b", 1);
    await one.failGroupMember(groupId, "c", Object.assign(new Error("last"), { code: "E_LAST", details: [1] }));
    for (const error of [await waits, await rejection(one.waitGroup(groupId, 0))]) {
      const { name, code, groupId: failedId, failures } = error as GroupFailure;
      assert.deepEqual([name, code, failedId], ["GroupFailedError", "GROUP_FAILED", groupId]);
      assert.deepEqual(
        failures.map((each) => [each.code, each.taskId, each.failure]),
        [
          ["TASK_FAILED", "c", { name: "Error", message: "last", code: "E_LAST", details: [1] }],
          ["TASK_FAILED", "a", { name: "TypeError", message: "first" }],
        ],
      );
    }
  },

  "keeps the latest failure of a member": async (suite) => {
    const backend = await suite.open();
    const groupId = suite.id("g");
    await backend.initGroup(groupId, 1);
    await backend.failGroupMember(groupId, "a", new Error("first"));
    await backend.failGroupMember(groupId, "a", new Error("second"));
    const { failures } = (await rejection(backend.waitGroup(groupId, 0))) as GroupFailure;
    assert.deepEqual(
      failures.map(({ failure }) => failure.message),
      ["second"],
    );
  },

  "lets a success outweigh a failure that comes after it": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 2);
    await one.completeGroupMember(groupId, "a", 1);
    assert.equal(await other.failGroupMember(groupId, "a", new Error("late")), 1);
    assert.deepEqual(await one.getGroup(groupId), { groupId, total: 2, completed: 1, failed: 0, done: false });
    assert.equal(await one.completeGroupMember(groupId, "b", 2), 2);
    assert.equal(await other.failGroupMember(groupId, "b", new Error("late")), 2);
    assert.deepEqual(await other.waitGroup(groupId, 0), [1, 2]);
  },

  "lets a success outweigh a failure that came before it, also when the group is done": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 2);
    await one.failGroupMember(groupId, "a", new Error("no"));
    await one.failGroupMember(groupId, "b", new Error("no"));
    await assert.rejects(one.waitGroup(groupId, 0), { code: "GROUP_FAILED" });
    assert.equal(await other.completeGroupMember(groupId, "a", 1), 1);
    assert.deepEqual(await one.getGroup(groupId), { groupId, total: 2, completed: 1, failed: 1, done: true });
    assert.equal(await one.completeGroupMember(groupId, "b", 2), 2);
    assert.deepEqual(await other.getGroup(groupId), { groupId, total: 2, completed: 2, failed: 0, done: true });
    assert.deepEqual(await other.waitGroup(groupId, 0), [1, 2]);
  },

  "is done by a failure that is the last to finish": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const waits = rejection(other.waitGroup(groupId, longMs));
    await one.initGroup(groupId, 2);
    await one.completeGroupMember(groupId, "a", 1);
    await one.failGroupMember(groupId, "b", "thrown text");
    const { failures } = (await waits) as GroupFailure;
    assert.deepEqual(
      failures.map(({ failure }) => failure),
      [{ name: "Error", message: "thrown text" }],
    );
  },
};
