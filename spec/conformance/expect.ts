import assert from "node:assert/strict";
import { lastValueFrom, toArray } from "rxjs";
import { eventually } from "./eventually";
import { type ConformingBackend, longMs, rejection, type Specs } from "./suite";

const mustExist = true;
const notFound = (taskId: string): object => ({ name: "TaskNotFoundError", code: "TASK_NOT_FOUND", taskId });

/** Tells how calls with `mustExist` see a task. */
async function stateOf(backend: ConformingBackend, taskId: string): Promise<string> {
  const read = async (): Promise<string> =>
    (await backend.getSettled(taskId, { mustExist })) === undefined ? "pending" : "finished";
  const state = await read().catch((error: unknown) => (error as { code?: string }).code ?? "");
  const waited = await backend.waitSettled(taskId, { timeoutMs: 0, mustExist }).then(
    () => "finished",
    (error: unknown) => ((error as { code?: string }).code ?? "").replace("WAIT_TIMEOUT", "pending"),
  );
  assert.equal(waited, state);
  return state.replace("TASK_NOT_FOUND", "unknown");
}

export const expectSpecs: Specs = {
  "tells a task that is expected from one that is unknown": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    await assert.rejects(one.get(taskId, { mustExist }), notFound(taskId));
    await assert.rejects(one.getSettled(taskId, { mustExist }), notFound(taskId));
    for (const timeoutMs of [0, 1, longMs, Infinity]) {
      await assert.rejects(one.wait(taskId, { timeoutMs, mustExist }), notFound(taskId));
      await assert.rejects(one.waitSettled(taskId, { timeoutMs, mustExist }), notFound(taskId));
    }
    await one.expect(taskId);
    assert.equal(await other.get(taskId, { mustExist }), undefined);
    assert.equal(await other.getSettled(taskId, { mustExist }), undefined);
    await assert.rejects(other.wait(taskId, { timeoutMs: 20, mustExist }), { code: "WAIT_TIMEOUT", timeoutMs: 20 });
    await assert.rejects(other.wait(taskId, { timeoutMs: 0, mustExist }), { code: "WAIT_TIMEOUT", timeoutMs: 0 });
    const waiting = other.wait(taskId, { timeoutMs: longMs, mustExist });
    await one.store(taskId, 7);
    assert.equal(await waiting, 7);
    assert.equal(await one.get(taskId, { mustExist }), 7);
    assert.equal(await one.wait(taskId, { timeoutMs: 0, mustExist }), 7);
  },

  "counts an unknown task as one that has not finished unless mustExist is set": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    for (const options of [{}, { mustExist: false }]) {
      assert.equal(await backend.get(taskId, options), undefined);
      await assert.rejects(backend.wait(taskId, { timeoutMs: 0, ...options }), { code: "WAIT_TIMEOUT" });
    }
  },

  "knows tasks with a result, a failure or chunks that nothing expected": async (suite) => {
    const [one, other] = await suite.openTwo();
    await one.store(suite.id("stored"), undefined);
    await one.fail(suite.id("failed"), new Error("no"));
    await one.emit(suite.id("running"), "chunk");
    assert.equal(await stateOf(other, suite.id("stored")), "finished");
    assert.equal(await stateOf(other, suite.id("failed")), "finished");
    assert.equal(await stateOf(other, suite.id("running")), "pending");
  },

  "expects a task that has a result without any effect": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    await backend.store(taskId, 1, { ttlMs: Infinity });
    await backend.expect(taskId);
    assert.equal(await backend.get(taskId, { mustExist }), 1);
    assert.equal(await backend.delete(taskId), true);
    assert.equal(await stateOf(backend, taskId), "unknown");
  },

  "forgets a task with its result: when it is deleted, and when it expires before the expectation": async (suite) => {
    const backend = await suite.open();
    const [deleted, expired] = [suite.id("deleted"), suite.id("expired")];
    for (const taskId of [deleted, expired]) await backend.expect(taskId, { ttlMs: Infinity });
    await backend.store(deleted, 1);
    await backend.delete(deleted);
    assert.equal(await stateOf(backend, deleted), "unknown");
    await backend.store(expired, 1, { ttlMs: 1 });
    await eventually(async () => assert.equal(await stateOf(backend, expired), "unknown"));
    await backend.expect(expired);
    assert.equal(await stateOf(backend, expired), "pending");
  },

  "forgets a task that nothing stored, unless it is expected for longer": async (suite) => {
    const backend = await suite.open();
    const [short, long] = [suite.id("short"), suite.id("long")];
    for (const taskId of [short, long]) await backend.expect(taskId, { ttlMs: 1 });
    for (const ttlMs of [Infinity, 1]) await backend.expect(long, { ttlMs });
    await eventually(async () => assert.equal(await stateOf(backend, short), "unknown"));
    assert.equal(await stateOf(backend, long), "pending");
    await backend.expect(short);
    assert.equal(await stateOf(backend, short), "pending");
  },

  "emits the chunks of a task that is expected": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    await one.expect(taskId);
    const following = lastValueFrom(other.chunks$(taskId).pipe(toArray()));
    assert.equal(await one.emit(taskId, "first"), 1);
    await one.expect(taskId);
    assert.equal(await one.emit(taskId, "second"), 2);
    await one.store(taskId, "done");
    const chunks = (await following).map(({ attempt, sequence }) => [attempt, sequence]);
    assert.deepEqual(chunks, [
      [1, 1],
      [1, 2],
    ]);
  },

  "ends a wait that checks its task when its signal aborts": async (suite) => {
    const backend = await suite.open();
    const aborted = { timeoutMs: longMs, mustExist, signal: AbortSignal.abort(new Error("mine")) };
    assert.equal(((await rejection(backend.wait(suite.id("t"), aborted))) as Error).message, "mine");
    const leaving = new AbortController();
    const waiting = backend.wait(suite.id("t"), { timeoutMs: longMs, mustExist, signal: leaving.signal });
    leaving.abort(new Error("gone"));
    assert.equal(((await rejection(waiting)) as Error).message, "gone");
  },

  "refuses options that are not what they are": async (suite) => {
    const backend = await suite.open();
    const wrong = { mustExist: "yes" as unknown as boolean };
    await assert.rejects(backend.get(suite.id("t"), wrong), { name: "TypeError", message: /^mustExist: / });
    await assert.rejects(backend.wait(suite.id("t"), { timeoutMs: 1, ...wrong }), { name: "TypeError" });
    for (const ttlMs of [0, -1, NaN]) await assert.rejects(backend.expect(suite.id("t"), { ttlMs }), RangeError);
    assert.equal(await stateOf(backend, suite.id("t")), "unknown");
  },
};
