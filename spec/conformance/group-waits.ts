import assert from "node:assert/strict";
import { WaitTimeoutError } from "kojin-postgres";
import { eventually } from "./eventually";
import { assertEndsWith, assertReleased, collect, isPending, longMs, rejection, type Specs } from "./suite";

export const groupWaitSpecs: Specs = {
  "resolves with the results, whether it begins before, during or after the group": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const before = other.waitGroup(groupId, longMs);
    await one.initGroup(groupId, ["b", "a"]);
    const between = other.waitGroup(groupId, Infinity);
    await one.completeGroupMember(groupId, "a", 2);
    const during = other.waitGroup(groupId, { timeoutMs: longMs });
    await other.completeGroupMember(groupId, "b", 1);
    for (const waits of [before, between, during, one.waitGroup(groupId, 0)]) assert.deepEqual(await waits, [1, 2]);
    await assertReleased(other);
  },

  "misses nothing that finishes while the wait begins": async (suite) => {
    const [one, other] = await suite.openTwo();
    for (let round = 0; round < 50; round += 1) {
      const groupId = suite.id(`during ${round}`);
      const writes = Promise.all([one.initGroup(groupId, 1), one.completeGroupMember(groupId, "a", round)]);
      assert.deepEqual(await other.waitGroup(groupId, longMs), [round]);
      await writes;
    }
  },

  "gives each waiter a copy of its own": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const both = [other.waitGroup<number[]>(groupId, longMs), other.waitGroup<number[]>(groupId, longMs)];
    await one.initGroup(groupId, 1);
    await one.completeGroupMember(groupId, "a", [1]);
    const [first, second] = await Promise.all(both);
    first?.[0]?.push(2);
    assert.deepEqual(second, [[1]]);
  },

  "rejects after the timeout, and says if the group was never initialised": async (suite) => {
    const backend = await suite.open();
    const [unknown, open] = [suite.id("unknown"), suite.id("open")];
    await backend.initGroup(open, 2);
    await backend.completeGroupMember(open, "a", 1);
    const cases = { [unknown]: /never initialised/, [open]: /1 of 2/ };
    for (const [groupId, message] of Object.entries(cases)) {
      const error = await rejection(backend.waitGroup(groupId, 50));
      assert.ok(error instanceof WaitTimeoutError && !("taskId" in error));
      assert.deepEqual(
        [error.name, error.code, error.groupId, error.timeoutMs],
        ["WaitTimeoutError", "WAIT_TIMEOUT", groupId, 50],
      );
      assert.match(error.message, message);
    }
    await backend.completeGroupMember(unknown, "a", 1);
    await assert.rejects(backend.waitGroup(unknown, 0), { code: "WAIT_TIMEOUT", message: /never initialised/ });
    await assertReleased(backend);
  },

  "goes on for longer than a timer can": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 1, { deadlineMs: 2 ** 40, ttlMs: 2 ** 40 });
    const waits = Promise.all([2 ** 31, 2 ** 40, Infinity].map(async (limitMs) => other.waitGroup(groupId, limitMs)));
    assert.ok(await isPending(waits, rejection(other.waitGroup(groupId, 50))));
    await one.completeGroupMember(groupId, "a", 1);
    assert.deepEqual(await waits, [[1], [1], [1]]);
  },

  "rejects with the reason of its signal": async (suite) => {
    const backend = await suite.open();
    const controller = new AbortController();
    const options = { timeoutMs: longMs, signal: controller.signal };
    const waits = rejection(backend.waitGroup(suite.id("g"), options));
    const reason = new Error("the client went away");
    controller.abort(reason);
    assert.equal(await waits, reason);
    assert.equal(await rejection(backend.waitGroup(suite.id("g"), options)), reason);
    await assertReleased(backend);
  },

  "keeps a group for its time to live, counted from when it was done": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [open, done, kept] = [suite.id("open"), suite.id("done"), suite.id("kept")];
    await one.initGroup(open, 2, { ttlMs: 1 });
    await one.completeGroupMember(open, "a", 1);
    await one.initGroup(done, 1, { ttlMs: 1 });
    await one.initGroup(kept, 1, { ttlMs: Infinity });
    await one.completeGroupMember(done, "a", 1);
    await one.completeGroupMember(kept, "a", 1);
    await eventually(async () => assert.equal(await other.getGroup(done), undefined));
    assert.deepEqual(await other.getGroupResults(done), []);
    assert.equal(await other.claimGroup(done), undefined);
    await assert.rejects(other.waitGroup(done, 20), { code: "WAIT_TIMEOUT" });
    assert.equal((await other.getGroup(open))?.completed, 1);
    assert.deepEqual(await other.getGroupResults(kept), [1]);
  },

  "begins anew with a group that has expired": async (suite) => {
    const [one, other] = await suite.openTwo();
    for (const again of ["init", "complete"]) {
      const groupId = suite.id(again);
      await one.initGroup(groupId, ["a"], { ttlMs: 1 });
      await one.completeGroupMember(groupId, "a", "old");
      await eventually(async () => assert.equal(await other.getGroup(groupId), undefined));
      if (again === "init") await other.initGroup(groupId, 2);
      assert.equal(await other.completeGroupMember(groupId, "b", "new"), 1);
      const total = again === "init" ? 2 : null;
      assert.deepEqual(await one.getGroup(groupId), { groupId, total, completed: 1, failed: 0, done: false });
      assert.deepEqual(await one.getGroupResults(groupId), ["new"]);
    }
  },

  "ends at the deadline of a group that is still open, which then counts as absent": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    const early = rejection(other.waitGroup(groupId, longMs));
    // Long enough for the waits below to begin before.
    await one.initGroup(groupId, 2, { deadlineMs: 3_000 });
    await one.completeGroupMember(groupId, "a", 1);
    const streams = [other.group$(groupId), other.groupMembers$(groupId), other.groupResults$(groupId)].map((each$) =>
      collect<unknown>(each$),
    );
    const late = rejection(one.waitGroup(groupId, Infinity));
    for (const waits of [early, late]) assert.equal(((await waits) as { code?: string }).code, "WAIT_TIMEOUT");
    for (const stream of streams) await assertEndsWith(stream, { code: "WAIT_TIMEOUT", groupId, taskId: undefined });
    await eventually(async () => assert.equal(await one.getGroup(groupId), undefined));
    assert.deepEqual(await one.getGroupResults(groupId), []);
    assert.equal(await one.claimGroup(groupId), undefined);
    await assertReleased(other);
  },

  "ends at the deadline of the next group if a deleted one of the same id had a later deadline": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 1, { deadlineMs: 3_600_000 });
    const first = collect(other.group$(groupId));
    await eventually(() => assert.equal(first.seen.length, 1));
    await one.completeGroupMember(groupId, "a", 1);
    assert.equal(await first.ended, "completed");
    await one.initGroup(suite.id("open"), 1, { deadlineMs: 3_600_000 });
    const following = collect(other.group$(suite.id("open")));
    await eventually(() => assert.equal(following.seen.length, 1));
    for (const id of [groupId, suite.id("open")]) {
      await one.deleteGroup(id);
      await one.initGroup(id, 2, { deadlineMs: 2_000 });
    }
    const streams = [other.group$(groupId), other.groupMembers$(groupId), other.groupResults$(groupId)].map((each$) =>
      collect<unknown>(each$),
    );
    for (const stream of [following, ...streams])
      await assertEndsWith(stream, { code: "WAIT_TIMEOUT", timeoutMs: 2_000 });
  },

  "says how far the group was at its deadline": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    await one.initGroup(groupId, 3, { deadlineMs: 2_000 });
    const stream = collect(other.group$(groupId));
    await eventually(() => assert.equal(stream.seen.length, 1));
    await one.completeGroupMember(groupId, "a", 1);
    await one.failGroupMember(groupId, "b", new Error("no"));
    await assertEndsWith(stream, {
      message: `Group ${groupId} was not done within 2000 ms: 2 of 3 members have finished.`,
    });
  },

  "does not touch a group that is done before its deadline": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [done, late] = [suite.id("done"), suite.id("late")];
    await one.initGroup(done, 1, { deadlineMs: 3_000 });
    await one.completeGroupMember(done, "a", 1);
    await one.initGroup(suite.id("quick"), 0, { deadlineMs: 100 });
    // Begun after the other, with the same deadline: when this one is over, so is that one.
    await one.initGroup(late, 1, { deadlineMs: 3_000 });
    await assert.rejects(other.waitGroup(late, longMs), { code: "WAIT_TIMEOUT" });
    assert.deepEqual(await other.waitGroup(suite.id("quick"), 0), []);
    assert.deepEqual(await other.waitGroup(done, 0), [1]);
  },
};
