import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { assertReleased, isPending, longMs, rejection, type Specs } from "./suite";

export const waitSpecs: Specs = {
  "resolves at once with a result that was stored before": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    await storing.store(suite.id("before"), { size: 1 });
    assert.deepEqual(await waiting.wait(suite.id("before"), longMs), { size: 1 });
  },

  "resolves with a result that is stored later, by another backend or by the same": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const waits = [waiting.wait(suite.id("a"), longMs), waiting.wait(suite.id("b"), { timeoutMs: longMs })];
    // After a round trip for another task, the waits have begun.
    await storing.store(suite.id("marker"), 1);
    await waiting.wait(suite.id("marker"), longMs);
    await storing.store(suite.id("a"), 1);
    await waiting.store(suite.id("b"), null);
    assert.deepEqual(await Promise.all(waits), [1, null]);
  },

  "misses nothing that is stored while the wait begins": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    for (let round = 0; round < 100; round += 1) {
      const taskId = suite.id(`during ${round}`);
      const stored = storing.store(taskId, round);
      assert.equal(await waiting.wait(taskId, longMs), round);
      await stored;
    }
  },

  "wakes every waiter of the same task, each with a copy of its own": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const waits = Array.from({ length: 5 }, async () => waiting.wait<number[]>(suite.id("shared"), longMs));
    await storing.store(suite.id("shared"), [1]);
    const [first, ...others] = await Promise.all(waits);
    first?.push(2);
    assert.deepEqual(others, [[1], [1], [1], [1]]);
  },

  "wakes only those who wait for the task that was stored": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const other = waiting.wait(suite.id("other"), longMs);
    const stored = storing.store(suite.id("this"), 1);
    assert.ok(await isPending(other, Promise.all([stored, waiting.wait(suite.id("this"), longMs)])));
    await storing.store(suite.id("other"), 2);
    assert.equal(await other, 2);
  },

  "rejects with the failure of the task, or gives it as a value": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const taskId = suite.id("failed");
    const [thrown, settled] = [rejection(waiting.wait(taskId, longMs)), waiting.waitSettled(taskId, longMs)];
    await storing.fail(taskId, new TypeError("no"));
    const { code, failure } = (await thrown) as { code: string; failure: unknown };
    assert.deepEqual([code, failure], ["TASK_FAILED", { name: "TypeError", message: "no" }]);
    const outcome = await settled;
    assert.ok(outcome.status === "rejected" && (outcome.reason as { code: string }).code === "TASK_FAILED");
    await storing.store(taskId, "retried");
    assert.deepEqual(await waiting.waitSettled(taskId, longMs), { status: "fulfilled", value: "retried" });
  },

  "rejects after the timeout, not before, with the task and the time in the error": async (suite) => {
    const backend = await suite.open();
    const startedAt = performance.now();
    const error = (await rejection(backend.wait(suite.id("never"), 100))) as Record<string, unknown>;
    assert.ok(performance.now() - startedAt >= 99);
    const { name, code, taskId, timeoutMs } = error;
    assert.deepEqual([name, code, taskId, timeoutMs], ["WaitTimeoutError", "WAIT_TIMEOUT", suite.id("never"), 100]);
    assert.ok(!("groupId" in error));
    await assert.rejects(backend.waitSettled(suite.id("never"), 0.5), { code: "WAIT_TIMEOUT", timeoutMs: 0.5 });
    await assertReleased(backend);
  },

  "reads once for a timeout of 0": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    await assert.rejects(waiting.wait(suite.id("zero"), 0), { code: "WAIT_TIMEOUT", timeoutMs: 0 });
    await storing.store(suite.id("zero"), 1);
    assert.equal(await waiting.wait(suite.id("zero"), 0), 1);
  },

  "goes on for longer than a timer can, and for ever": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const limits = [2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER, Infinity];
    const waits = Promise.all(limits.map(async (limitMs) => waiting.wait(suite.id(`long ${limitMs}`), limitMs)));
    // A timer that overflowed would fire after 1 ms.
    assert.ok(await isPending(waits, rejection(waiting.wait(suite.id("never"), 50))));
    for (const limitMs of limits) await storing.store(suite.id(`long ${limitMs}`), 1);
    assert.deepEqual(await waits, [1, 1, 1, 1]);
  },

  "rejects with the reason of its signal, at once if that is aborted": async (suite) => {
    const backend = await suite.open();
    const controller = new AbortController();
    const options = { timeoutMs: longMs, signal: controller.signal };
    const waits = [1, 2, 3].map(async (index) => rejection(backend.wait(suite.id(`aborted ${index % 2}`), options)));
    const reason = new Error("the client went away");
    controller.abort(reason);
    for (const each of await Promise.all(waits)) assert.equal(each, reason);
    await backend.store(suite.id("there"), 1);
    assert.equal(await rejection(backend.wait(suite.id("there"), options)), reason);
    await assertReleased(backend);
  },

  "leaves nothing on a signal that outlives the wait": async (suite) => {
    const backend = await suite.open();
    const { signal } = new AbortController();
    const late = rejection(backend.wait(suite.id("never"), { timeoutMs: 20, signal }));
    const waits = Array.from({ length: 20 }, async (_, index) =>
      backend.wait(suite.id(`${index}`), { timeoutMs: longMs, signal }),
    );
    await Promise.all(waits.map(async (_, index) => backend.store(suite.id(`${index}`), index)));
    assert.equal((await Promise.all(waits)).length, 20);
    await late;
    assert.equal(getEventListeners(signal, "abort").length, 0);
  },

  "is not misled by a result that was deleted": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    await storing.store(suite.id("deleted"), 1);
    await storing.delete(suite.id("deleted"));
    const waits = waiting.wait(suite.id("deleted"), longMs);
    await storing.store(suite.id("deleted"), 2);
    assert.equal(await waits, 2);
  },

  "serves a thousand waits at once": async (suite) => {
    const [storing, waiting] = await suite.openTwo();
    const waits = Array.from({ length: 1_000 }, async (_, index) => waiting.wait(suite.id(`${index}`), longMs));
    await Promise.all(waits.map(async (_, index) => storing.store(suite.id(`${index}`), index)));
    assert.deepEqual(
      await Promise.all(waits),
      waits.map((_, index) => index),
    );
    await assertReleased(waiting);
  },
};
