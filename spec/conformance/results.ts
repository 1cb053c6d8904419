import assert from "node:assert/strict";
import { eventually } from "./eventually";
import { rejection, type Specs } from "./suite";

const values: readonly unknown[] = [
  null,
  false,
  true,
  0,
  -1.5,
  1e21,
  "",
  "text",
  '漢字 🙂 \u0001 "quoted" \\ back',
  [],
  {},
  [1, [2, [3]]],
  { nested: [null, { deep: true }] },
  { toJSON: 1 },
];

export const resultSpecs: Specs = {
  "brings back every kind of value as it was stored": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    for (const [index, value] of values.entries()) {
      const taskId = suite.id(`value ${index}`);
      await storing.store(taskId, value);
      assert.deepEqual(await reading.get(taskId), value);
      assert.deepEqual(await reading.getSettled(taskId), { status: "fulfilled", value });
      assert.deepEqual(await reading.wait(taskId, 0), value);
    }
  },

  "stores undefined as null, and gives undefined where there is nothing": async (suite) => {
    const backend = await suite.open();
    await backend.store(suite.id("undefined"), undefined);
    await backend.store(suite.id("field"), { kept: 1, dropped: undefined, listed: [undefined] });
    assert.equal(await backend.get(suite.id("undefined")), null);
    assert.deepEqual(await backend.get(suite.id("field")), { kept: 1, listed: [null] });
    assert.equal(await backend.get(suite.id("nothing")), undefined);
    assert.equal(await backend.getSettled(suite.id("nothing")), undefined);
  },

  "stores a copy: later changes by the caller or by a reader have no effect on others": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const value = { list: [1] };
    const stored = storing.store(suite.id("copy"), value);
    value.list.push(2);
    await stored;
    const read = await reading.get<typeof value>(suite.id("copy"));
    read?.list.push(3);
    assert.deepEqual(await reading.get(suite.id("copy")), { list: [1] });
  },

  "brings back what a failed task left behind": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const taskId = suite.id("failed");
    const error = new TypeError("no such file", { cause: new RangeError("page 9") });
    await storing.fail(taskId, Object.assign(error, { code: "ENOENT", details: { path: "/a" } }));
    const reason = await rejection(reading.get(taskId));
    const { name, code, failure, cause, message } = reason as Error & { code: string; failure: unknown };
    assert.deepEqual([name, code], ["TaskFailedError", "TASK_FAILED"]);
    assert.equal((reason as { taskId?: unknown }).taskId, taskId);
    assert.equal(message, `Task ${taskId} failed: TypeError: no such file`);
    assert.deepEqual(failure, {
      name: "TypeError",
      message: "no such file",
      code: "ENOENT",
      details: { path: "/a" },
      cause: { name: "RangeError", message: "page 9" },
    });
    assert.ok(cause instanceof Error && cause.name === "TypeError" && cause.cause instanceof Error);
    const settled = await reading.getSettled(taskId);
    assert.ok(settled?.status === "rejected" && (settled.reason as Error).name === "TaskFailedError");
  },

  "takes anything that was thrown for a failure": async (suite) => {
    const backend = await suite.open();
    for (const [index, thrown] of ["text", undefined, null, 7, { message: "plain" }, Symbol("s"), 1n].entries()) {
      const taskId = suite.id(`thrown ${index}`);
      await backend.fail(taskId, thrown);
      await assert.rejects(backend.get(taskId), { code: "TASK_FAILED" });
    }
  },

  "keeps the last result, or the first if asked to": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("twice");
    await one.store(taskId, 1);
    await other.store(taskId, 2);
    assert.equal(await one.get(taskId), 2);
    await one.store(taskId, 3, { onConflict: "keep" });
    await one.fail(taskId, new Error("late"), { onConflict: "keep" });
    assert.equal(await other.get(taskId), 2);
    await other.fail(taskId, new Error("no"), { onConflict: "replace" });
    await assert.rejects(one.get(taskId), { code: "TASK_FAILED" });
    await one.store(taskId, 4);
    assert.equal(await other.get(taskId), 4);
    await one.store(suite.id("first"), 5, { onConflict: "keep" });
    assert.equal(await other.get(suite.id("first")), 5);
  },

  "lets the last of several calls win that were made at once": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("at once");
    await Promise.all([1, 2, 3, 4, 5].map(async (value) => backend.store(taskId, value)));
    assert.equal(await backend.get(taskId), 5);
  },

  "treats an expired result as absent": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const [taskId, kept] = [suite.id("expired"), suite.id("kept")];
    await storing.store(taskId, 1, { ttlMs: 1 });
    await storing.store(kept, 1, { ttlMs: Infinity });
    await storing.store(suite.id("long"), 1, { ttlMs: Number.MAX_SAFE_INTEGER });
    await eventually(async () => assert.equal(await reading.get(taskId), undefined));
    assert.equal(await reading.getSettled(taskId), undefined);
    await assert.rejects(reading.wait(taskId, 20), { code: "WAIT_TIMEOUT" });
    assert.equal(await storing.delete(taskId), false);
    assert.deepEqual([await reading.get(kept), await reading.get(suite.id("long"))], [1, 1]);
  },

  "stores over an expired result, also if the first is to be kept": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("expired");
    await backend.fail(taskId, new Error("no"), { ttlMs: 1 });
    await eventually(async () => assert.equal(await backend.getSettled(taskId), undefined));
    await backend.store(taskId, 2, { onConflict: "keep" });
    assert.equal(await backend.get(taskId), 2);
  },

  "deletes a result, and tells whether there was one": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("deleted");
    assert.equal(await one.delete(taskId), false);
    await one.store(taskId, null);
    assert.equal(await other.delete(taskId), true);
    assert.equal(await one.delete(taskId), false);
    assert.equal(await one.get(taskId), undefined);
  },

  "takes any id of up to 512 bytes": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const rest = 512 - Buffer.byteLength(suite.id(""));
    const names = [
      "it's",
      'say "hi"',
      "a,b",
      "{a}",
      "line\nbreak",
      "tab\tback\\slash",
      "漢字",
      "\u0001",
      "🙂".repeat(rest >> 2),
      "x".repeat(rest),
    ];
    for (const name of names) {
      await storing.store(suite.id(name), name);
      assert.equal(await reading.wait(suite.id(name), 0), name);
    }
  },
};
