import assert from "node:assert/strict";
import type { ConformingBackend, Specs } from "./suite";

export const badIds: readonly (readonly [value: unknown, errorName: string])[] = [
  ["", "RangeError"],
  ["x".repeat(513), "RangeError"],
  [`${"é".repeat(256)}x`, "RangeError"],
  ["a\0b", "RangeError"],
  ["a\ud800", "RangeError"],
  [7, "TypeError"],
  [undefined, "TypeError"],
  [null, "TypeError"],
  [{}, "TypeError"],
];

const callsWith = (backend: ConformingBackend, taskId: string): (() => Promise<unknown>)[] => [
  async () => backend.store(taskId, 1),
  async () => backend.fail(taskId, 1),
  async () => backend.expect(taskId),
  async () => backend.get(taskId),
  async () => backend.getSettled(taskId),
  async () => backend.wait(taskId, 1),
  async () => backend.waitSettled(taskId, 1),
  async () => backend.delete(taskId),
];

/** Calls with an option that they do not have, and the option that it resembles most. */
const typos: readonly (readonly [call: string, args: readonly unknown[], typo: string, similar: string])[] = [
  ["store", ["t", 1], "ttl", "ttlMs"],
  ["fail", ["t", 1], "onconflict", "onConflict"],
  ["get", ["t"], "scheme", "schema"],
  ["getSettled", ["t"], "shema", "schema"],
  ["wait", ["t"], "timout", "timeoutMs"],
  ["waitSettled", ["t"], "abortSignal", "signal"],
  ["get", ["t"], "mustExists", "mustExist"],
  ["wait", ["t"], "mustexist", "mustExist"],
  ["expect", ["t"], "ttl", "ttlMs"],
  ["delete", ["t"], "clients", "client"],
  ["result$", ["t"], "timeoutMs", "schema"],
  ["results$", [], "when", "where"],
  ["emit", ["t", 1], "restarted", "restart"],
  ["chunks$", ["t"], "afer", "after"],
  ["initGroup", ["g", 1], "deadline", "deadlineMs"],
  ["completeGroupMember", ["g", "t", 1], "Client", "client"],
  ["failGroupMember", ["g", "t", 1], "ttlMs", "client"],
  ["deleteGroup", ["g"], "clients", "client"],
  ["getGroupResults", ["g"], "schemas", "schema"],
  ["waitGroup", ["g"], "timeout", "timeoutMs"],
  ["groupMembers$", ["g"], "Schema", "schema"],
  ["groupResults$", ["g"], "timeoutMs", "schema"],
  ["claimGroup", ["g"], "lease", "leaseMs"],
  ["unclaimedGroups", [], "limits", "limit"],
  ["close", [], "drain", "drainMs"],
];

function unencodable(): unknown[] {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const throwing = {
    toJSON: (): never => {
      throw new Error("no");
    },
  };
  return [1n, cycle, "\u0000", { deep: ["\ud800"] }, { "\u0000": 1 }, (): void => undefined, Symbol("s"), throwing];
}

export const badInputSpecs: Specs = {
  "every call refuses an id that is not 1 to 512 bytes of text": async (suite) => {
    const backend = await suite.open();
    for (const [id, name] of badIds) {
      const taskId = id as string;
      for (const call of callsWith(backend, taskId))
        await assert.rejects(call, { name, message: /^taskId: expected .*, got / }, String(call));
      assert.throws(() => backend.result$(taskId), { name });
    }
  },

  "every call refuses an option that it does not have, and names the most similar one": async (suite) => {
    const backend = await suite.open();
    const calls = backend as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const [name, args, typo, similar] of typos) {
      const call = async (options: unknown): Promise<void> => {
        // Calls that return an observable throw.
        await calls[name]?.(...args, options);
      };
      const message = `${typo}: unknown option. The most similar one is ${similar}.`;
      await assert.rejects(call({ [typo]: 5 }), { name: "TypeError", message }, name);
      await assert.rejects(call({ [typo]: undefined }), { name: "TypeError", message }, name);
      await assert.rejects(call(null), { name: "TypeError" }, name);
    }
    await backend.store(suite.id("t"), "still open");
  },

  "a timeout has to be a number of milliseconds from 0 up": async (suite) => {
    const backend = await suite.open();
    for (const timeoutMs of [-1, NaN, -Infinity, Number.MAX_VALUE]) {
      await assert.rejects(backend.wait(suite.id("t"), timeoutMs), { name: "RangeError" });
      await assert.rejects(backend.waitSettled(suite.id("t"), { timeoutMs }), { name: "RangeError" });
    }
    for (const timeout of ["1000", undefined, null, {}, { timeoutMs: "1" }])
      await assert.rejects(backend.wait(suite.id("t"), timeout as number), { name: "TypeError" });
    const signal = {} as AbortSignal;
    await assert.rejects(backend.wait(suite.id("t"), { timeoutMs: 1, signal }), { name: "TypeError" });
  },

  "a time to live has to be more than 0 ms": async (suite) => {
    const backend = await suite.open();
    for (const ttlMs of [0, -1, NaN, -Infinity, Number.MAX_VALUE]) {
      await assert.rejects(backend.store(suite.id("t"), 1, { ttlMs }), { name: "RangeError" });
      await assert.rejects(backend.fail(suite.id("t"), 1, { ttlMs }), { name: "RangeError" });
    }
    await assert.rejects(backend.store(suite.id("t"), 1, { ttlMs: "1" as unknown as number }), { name: "TypeError" });
    assert.equal(await backend.get(suite.id("t")), undefined);
  },

  "a conflict rule, a condition and a drain time have to be what they are": async (suite) => {
    const backend = await suite.open();
    await assert.rejects(backend.store(suite.id("t"), 1, { onConflict: "ignore" as "keep" }), { name: "TypeError" });
    assert.throws(() => backend.results$({ where: "mine" as unknown as () => boolean }), { name: "TypeError" });
    await assert.rejects(backend.close({ drainMs: -1 }), { name: "RangeError" });
    await assert.rejects(backend.close({ drainMs: "1" as unknown as number }), { name: "TypeError" });
    await backend.store(suite.id("t"), "still open");
  },

  "a value that JSON or jsonb cannot hold is refused, and changes nothing": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    await backend.store(taskId, "before");
    for (const value of unencodable()) {
      await assert.rejects(backend.store(taskId, value), {
        name: "ResultEncodingError",
        code: "RESULT_ENCODING",
        taskId,
      });
      const member = backend.completeGroupMember(suite.id("g"), taskId, value);
      await assert.rejects(member, { code: "RESULT_ENCODING", taskId });
    }
    assert.equal(await backend.get(taskId), "before");
    assert.equal(await backend.getGroup(suite.id("g")), undefined);
  },
};
