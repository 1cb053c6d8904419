import assert from "node:assert/strict";
import {
  assertEndsWith,
  assertReleased,
  collect,
  type ConformingBackend,
  isPending,
  longMs,
  rejection,
  type Specs,
  type Suite,
} from "./suite";

const closed = { name: "BackendClosedError", code: "BACKEND_CLOSED" };

/** Every call of a backend. */
function everyCall(suite: Suite, backend: ConformingBackend): (() => Promise<unknown>)[] {
  const [taskId, groupId] = [suite.id("task"), suite.id("group")];
  return [
    async () => backend.store(taskId, 1),
    async () => backend.fail(taskId, 1),
    async () => backend.get(taskId),
    async () => backend.getSettled(taskId),
    async () => backend.wait(taskId, 1),
    async () => backend.waitSettled(taskId, Infinity),
    async () => backend.delete(taskId),
    async () => backend.expect(taskId),
    async () => backend.wait(taskId, { timeoutMs: 1, mustExist: true }),
    async () => backend.initGroup(groupId, 1),
    async () => backend.completeGroupMember(groupId, taskId, 1),
    async () => backend.failGroupMember(groupId, taskId, 1),
    async () => backend.getGroupResults(groupId),
    async () => backend.getGroup(groupId),
    async () => backend.waitGroup(groupId, Infinity),
    async () => backend.claimGroup(groupId),
    async () => backend.deleteGroup(groupId),
    async () => backend.unclaimedGroups(),
  ];
}

const everyStream = (suite: Suite, backend: ConformingBackend): (() => ReturnType<typeof collect>)[] => [
  () => collect<unknown>(backend.result$(suite.id("task"))),
  () => collect<unknown>(backend.results$()),
  () => collect<unknown>(backend.group$(suite.id("group"))),
  () => collect<unknown>(backend.groupMembers$(suite.id("group"))),
  () => collect<unknown>(backend.groupResults$(suite.id("group"))),
  () => collect<unknown>(backend.groupCompletions$()),
];

export const closeSpecs: Specs = {
  "rejects open waits, and everything that is asked later": async (suite) => {
    const backend = await suite.open();
    const waits = [
      rejection(backend.wait(suite.id("task"), Infinity)),
      rejection(backend.waitSettled(suite.id("task"), longMs)),
      rejection(backend.waitGroup(suite.id("group"), Infinity)),
    ];
    await backend.close();
    for (const each of waits) assert.equal(((await each) as { code?: string }).code, closed.code);
    for (const call of everyCall(suite, backend)) await assert.rejects(call, closed, String(call));
    await assertReleased(backend);
  },

  "errors open streams, and those that are subscribed to later: a stream that is cut off must not look complete":
    async (suite) => {
      const backend = await suite.open();
      const streams = everyStream(suite, backend).map((subscribe) => subscribe());
      await backend.close();
      for (const stream of streams) await assertEndsWith(stream, closed);
      for (const subscribe of everyStream(suite, backend)) await assertEndsWith(subscribe(), closed);
      await assertReleased(backend);
    },

  "may come twice, at once, and by the end of a block": async (suite) => {
    const backend = await suite.open();
    await Promise.all([backend.close(), backend.close({ drainMs: 100 })]);
    await backend.close();
    const other = await suite.open();
    await other[Symbol.asyncDispose]();
    await assert.rejects(other.get(suite.id("task")), closed);
  },

  "leaves alone what is stored, and other backends": async (suite) => {
    const [closing, staying] = await suite.openTwo();
    const waits = staying.wait(suite.id("task"), longMs);
    const stored = closing.store(suite.id("task"), 1);
    await closing.close();
    await stored;
    assert.equal(await waits, 1);
    const fresh = await suite.open();
    assert.equal(await fresh.get(suite.id("task")), 1);
  },

  "lets open waits go on for drainMs, and begins no new ones": async (suite) => {
    const [storing, draining] = await suite.openTwo();
    const drained = draining.wait(suite.id("drained"), longMs);
    const never = rejection(draining.wait(suite.id("never"), longMs));
    // Both have begun once a round trip has completed.
    await storing.store(suite.id("marker"), 1);
    await draining.wait(suite.id("marker"), longMs);
    const closing = draining.close({ drainMs: 1_000 });
    await assert.rejects(draining.wait(suite.id("late"), 1), closed);
    await storing.store(suite.id("drained"), 1);
    assert.equal(await drained, 1);
    assert.ok(await isPending(closing, storing.get(suite.id("drained"))));
    await closing;
    assert.equal(((await never) as { code?: string }).code, closed.code);
  },

  "ends as soon as the last wait has ended, however long drainMs is": async (suite) => {
    const [storing, draining] = await suite.openTwo();
    const [waits, groupWaits] = [
      draining.wait(suite.id("task"), longMs),
      draining.waitGroup(suite.id("group"), longMs),
    ];
    const closing = draining.close({ drainMs: 2 ** 40 });
    await storing.store(suite.id("task"), 1);
    assert.equal(await waits, 1);
    assert.ok(await isPending(groupWaits, rejection(storing.wait(suite.id("never"), 20))));
    await storing.initGroup(suite.id("group"), 0);
    assert.deepEqual(await groupWaits, []);
    await closing;
  },
};
