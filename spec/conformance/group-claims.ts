import assert from "node:assert/strict";
import { eventually } from "./eventually";
import type { ConformingBackend, Specs, Suite } from "./suite";

async function doneGroup(suite: Suite, backend: ConformingBackend, name: string): Promise<string> {
  await backend.initGroup(suite.id(name), 0);
  return suite.id(name);
}

/** The groups of this spec that can be claimed, in order. */
async function unclaimed(suite: Suite, backend: ConformingBackend): Promise<string[]> {
  const groups = await backend.unclaimedGroups({ limit: 10_000 });
  return groups.map(({ groupId }) => groupId).filter((groupId) => suite.isOwn(groupId));
}

export const groupClaimSpecs: Specs = {
  "gives no claim on a group before it is done": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = suite.id("g");
    assert.equal(await one.claimGroup(groupId), undefined);
    await one.completeGroupMember(groupId, "a", 1);
    assert.equal(await one.claimGroup(groupId, { leaseMs: 1_000 }), undefined);
    await one.initGroup(groupId, 2);
    assert.equal(await other.claimGroup(groupId), undefined);
    await one.failGroupMember(groupId, "b", new Error("no"));
    const claim = await other.claimGroup(groupId);
    assert.equal(claim?.groupId, groupId);
  },

  "gives a group that is done to one of twenty callers, for good": async (suite) => {
    const backends = await suite.openSome(4);
    const [one] = backends as [ConformingBackend];
    const groupId = await doneGroup(suite, one, "g");
    assert.deepEqual(await unclaimed(suite, one), [groupId]);
    const claims = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => (backends[index % 4] ?? one).claimGroup(groupId)),
    );
    const given = claims.filter((claim) => claim !== undefined);
    assert.equal(given.length, 1);
    assert.equal(await given[0]?.ack(), true);
    assert.equal(await one.claimGroup(groupId), undefined);
    assert.equal(await one.claimGroup(groupId, { leaseMs: 1 }), undefined);
    assert.deepEqual(await unclaimed(suite, one), []);
  },

  "holds a lease until it ends, and then gives the group to another caller": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = await doneGroup(suite, one, "g");
    const lost = await one.claimGroup(groupId, { leaseMs: 300 });
    assert.ok(lost !== undefined);
    assert.deepEqual(
      [await other.claimGroup(groupId, { leaseMs: 300 }), await unclaimed(suite, other)],
      [undefined, []],
    );
    await eventually(async () => assert.deepEqual(await unclaimed(suite, other), [groupId]));
    const taken = await other.claimGroup(groupId, { leaseMs: 60_000 });
    assert.ok(taken !== undefined);
    assert.equal(await lost.ack(), false);
    assert.equal(await taken.ack(), true);
    assert.equal(await lost.ack(), false);
    assert.equal(await one.claimGroup(groupId), undefined);
  },

  "gives a group whose lease has ended to one of several callers": async (suite) => {
    const backends = await suite.openSome(4);
    const [one] = backends as [ConformingBackend];
    const groupId = await doneGroup(suite, one, "g");
    assert.ok((await one.claimGroup(groupId, { leaseMs: 1 })) !== undefined);
    await eventually(async () => assert.deepEqual(await unclaimed(suite, one), [groupId]));
    const claims = await Promise.all(
      Array.from({ length: 16 }, async (_, index) =>
        (backends[index % 4] ?? one).claimGroup(groupId, { leaseMs: 60_000 }),
      ),
    );
    assert.equal(claims.filter((claim) => claim !== undefined).length, 1);
  },

  "keeps what is acknowledged, also after the lease would have ended": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [kept, clock] = [await doneGroup(suite, one, "kept"), await doneGroup(suite, one, "clock")];
    const claim = await one.claimGroup(kept, { leaseMs: 200 });
    assert.equal(await claim?.ack(), true);
    // Claimed after the other group, for as long: when this claim has expired, so has that one.
    await one.claimGroup(clock, { leaseMs: 200 });
    await eventually(async () => assert.deepEqual(await unclaimed(suite, other), [clock]));
    assert.equal(await other.claimGroup(kept), undefined);
  },

  "takes a late acknowledgement if no other caller has the group yet": async (suite) => {
    const [one, other] = await suite.openTwo();
    const groupId = await doneGroup(suite, one, "g");
    const claim = await one.claimGroup(groupId, { leaseMs: 1 });
    await eventually(async () => assert.deepEqual(await unclaimed(suite, other), [groupId]));
    assert.equal(await claim?.ack(), true);
    assert.deepEqual([await other.claimGroup(groupId), await unclaimed(suite, other)], [undefined, []]);
  },

  "takes no acknowledgement of a lease once the group has expired": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [leased, kept] = [suite.id("leased"), suite.id("kept")];
    for (const groupId of [leased, kept]) await one.initGroup(groupId, 0, { ttlMs: 1_000 });
    const [lease, forGood] = [await one.claimGroup(leased, { leaseMs: 60_000 }), await one.claimGroup(kept)];
    assert.ok(lease !== undefined && forGood !== undefined);
    for (const groupId of [leased, kept])
      await eventually(async () => assert.equal(await other.getGroup(groupId), undefined));
    assert.equal(await lease.ack(), false);
    // There is nothing to acknowledge.
    assert.equal(await forGood.ack(), true);
    await other.initGroup(leased, 0);
    assert.equal(await lease.ack(), false);
    assert.ok((await other.claimGroup(leased)) !== undefined);
  },

  "lists the groups that are done and unclaimed, longest done first, as many as asked for": async (suite) => {
    const [one, other] = await suite.openTwo();
    for (const name of ["a", "b", "c"]) await one.initGroup(suite.id(name), 1);
    for (const name of ["c", "a"]) await one.completeGroupMember(suite.id(name), "m", 1);
    await one.initGroup(suite.id("d"), 0);
    assert.deepEqual(
      await unclaimed(suite, other),
      ["c", "a", "d"].map((name) => suite.id(name)),
    );
    await one.claimGroup(suite.id("a"));
    assert.deepEqual(
      await unclaimed(suite, other),
      ["c", "d"].map((name) => suite.id(name)),
    );
    const all = await other.unclaimedGroups({ limit: 10_000 });
    const progress = { groupId: suite.id("c"), total: 1, completed: 1, failed: 0, done: true };
    assert.deepEqual(
      all.find(({ groupId }) => groupId === suite.id("c")),
      progress,
    );
    assert.equal((await other.unclaimedGroups({ limit: 1 })).length, 1);
    assert.ok((await other.unclaimedGroups()).length >= 2);
  },
};
