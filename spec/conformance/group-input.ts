import assert from "node:assert/strict";
import { badIds } from "./bad-input";
import type { ConformingBackend, Specs } from "./suite";

const groupCalls = (backend: ConformingBackend, groupId: string): (() => Promise<unknown>)[] => [
  async () => backend.initGroup(groupId, 1),
  async () => backend.completeGroupMember(groupId, "m", 1),
  async () => backend.failGroupMember(groupId, "m", 1),
  async () => backend.deleteGroup(groupId),
  async () => backend.getGroupResults(groupId),
  async () => backend.getGroup(groupId),
  async () => backend.waitGroup(groupId, 1),
  async () => backend.claimGroup(groupId),
];

const groupStreams = (backend: ConformingBackend, groupId: string): (() => unknown)[] => [
  () => backend.group$(groupId),
  () => backend.groupMembers$(groupId),
  () => backend.groupResults$(groupId),
];

export const groupInputSpecs: Specs = {
  "every call refuses the id of a group, or of a member, that is not 1 to 512 bytes of text": async (suite) => {
    const backend = await suite.open();
    const good = suite.id("g");
    for (const [id, name] of badIds) {
      const bad = id as string;
      for (const call of groupCalls(backend, bad))
        await assert.rejects(call, { name, message: /^groupId: expected .*, got / }, String(call));
      for (const stream of groupStreams(backend, bad)) assert.throws(stream, { name });
      await assert.rejects(backend.completeGroupMember(good, bad, 1), { name, message: /^taskId: / });
      await assert.rejects(backend.failGroupMember(good, bad, 1), { name, message: /^taskId: / });
      await assert.rejects(backend.initGroup(good, ["a", bad]), { name });
    }
    assert.equal(await backend.getGroup(good), undefined);
  },

  "members have to be a whole number from 0 up, or ids, each once": async (suite) => {
    const backend = await suite.open();
    const groupId = suite.id("g");
    for (const members of [-1, 1.5, NaN, Infinity, 2 ** 31, ["a", "b", "a"]])
      await assert.rejects(backend.initGroup(groupId, members), { name: "RangeError" });
    for (const members of ["3", undefined, null, {}, 3n, new Set(["a"])])
      await assert.rejects(backend.initGroup(groupId, members as number), { name: "TypeError" });
    assert.equal(await backend.getGroup(groupId), undefined);
    await backend.initGroup(groupId, ["a"]);
    // Before anything else is checked.
    await assert.rejects(backend.initGroup(groupId, ["a", "a"]), { name: "RangeError" });
  },

  "times of a group, of a wait and of a lease have to be what they are": async (suite) => {
    const backend = await suite.open();
    const groupId = suite.id("g");
    for (const ms of [0, -1, NaN, -Infinity]) {
      await assert.rejects(backend.initGroup(groupId, 0, { ttlMs: ms }), { name: "RangeError" });
      await assert.rejects(backend.initGroup(groupId, 0, { deadlineMs: ms }), { name: "RangeError" });
      await assert.rejects(backend.claimGroup(groupId, { leaseMs: ms }), { name: "RangeError" });
    }
    const text = "1" as unknown as number;
    await assert.rejects(backend.initGroup(groupId, 0, { ttlMs: text }), { name: "TypeError" });
    await assert.rejects(backend.initGroup(groupId, 0, { deadlineMs: text }), { name: "TypeError" });
    await assert.rejects(backend.claimGroup(groupId, { leaseMs: text }), { name: "TypeError" });
    await assert.rejects(backend.waitGroup(groupId, -1), { name: "RangeError" });
    await assert.rejects(backend.waitGroup(groupId, text), { name: "TypeError" });
    await assert.rejects(backend.waitGroup(groupId, { timeoutMs: 1, signal: {} as AbortSignal }), {
      name: "TypeError",
    });
    assert.equal(await backend.getGroup(groupId), undefined);
  },

  "a limit has to be a whole number from 1 to 10 000": async (suite) => {
    const backend = await suite.open();
    for (const limit of [0, -1, 1.5, 10_001, NaN])
      await assert.rejects(backend.unclaimedGroups({ limit }), { name: "RangeError" });
    await assert.rejects(backend.unclaimedGroups({ limit: "1" as unknown as number }), { name: "TypeError" });
  },
};
