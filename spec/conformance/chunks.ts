import assert from "node:assert/strict";
import { take } from "rxjs";
import type { Chunk } from "kojin-postgres";
import { eventually } from "./eventually";
import { assertEndsWith, assertReleased, collect, isPending, rejection, type Specs } from "./suite";

/** The items that a stream of these values emits, from a number on. */
const numbered = <T>(values: readonly T[], attempt = 1, from = 1): Chunk<T>[] =>
  values.map((value, index) => ({ kind: "chunk", attempt, sequence: from + index, value }));

const restart = (attempt: number): Chunk<never> => ({ kind: "restart", attempt, sequence: 0 });

export const chunkSpecs: Specs = {
  "emit numbers the chunks of each task from 1": async (suite) => {
    const [one, other] = await suite.openTwo();
    const [a, b] = [suite.id("a"), suite.id("b")];
    assert.deepEqual([await one.emit(a, "x"), await other.emit(a, "y"), await one.emit(b, "z")], [1, 2, 1]);
  },

  "chunks$ emits stored chunks, then the rest as they are emitted, and completes with the result": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    await one.emit(taskId, { token: "a" });
    const stream = collect(other.chunks$(taskId));
    await eventually(() => assert.deepEqual(stream.seen, numbered([{ token: "a" }])));
    await one.emit(taskId, null);
    await one.emit(taskId, [1, "ü"]);
    await eventually(() => assert.equal(stream.seen.length, 3));
    await one.store(taskId, "done");
    assert.equal(await stream.ended, "completed");
    assert.deepEqual(stream.seen, numbered([{ token: "a" }, null, [1, "ü"]]));
    const late = collect(one.chunks$(taskId));
    assert.equal(await late.ended, "completed");
    assert.deepEqual(late.seen, stream.seen);
    await assertReleased(other);
  },

  "chunks$ of a task that emits nothing completes with the result": async (suite) => {
    const [one, other] = await suite.openTwo();
    const early = collect(other.chunks$(suite.id("t")));
    await one.store(suite.id("t"), 1);
    const late = collect(other.chunks$(suite.id("t")));
    assert.deepEqual([await early.ended, await late.ended], ["completed", "completed"]);
    assert.deepEqual([early.seen, late.seen], [[], []]);
  },

  "chunks$ errors after the last chunk if the task failed": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    const early = collect(other.chunks$(taskId));
    await one.emit(taskId, 1);
    await one.fail(taskId, new RangeError("too far"));
    for (const stream of [early, collect(one.chunks$(taskId))]) {
      await assertEndsWith(stream, { name: "TaskFailedError", taskId });
      assert.deepEqual(stream.seen, numbered([1]));
    }
  },

  "chunks$ resumes after any number": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    const values = Array.from({ length: 10 }, (_, index) => index);
    for (const value of values) await one.emit(taskId, value);
    const streams = [0, 1, 7, 10].map((after) => collect(other.chunks$<number>(taskId, { after })));
    const [from] = numbered(values, 1).slice(4, 5) as [Chunk<number>];
    streams.push(collect(other.chunks$<number>(taskId, { after: from })));
    await one.emit(taskId, 10);
    await one.store(taskId, null);
    const all = numbered([...values, 10]);
    for (const [index, after] of [0, 1, 7, 10, 5].entries()) {
      assert.equal(await streams[index]?.ended, "completed");
      assert.deepEqual(streams[index]?.seen, all.slice(after));
    }
  },

  "calls of one backend keep their order, also without waiting": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    const values = Array.from({ length: 300 }, (_, index) => index);
    const numbers = await Promise.all(values.map(async (value) => one.emit(taskId, value)));
    assert.deepEqual(
      numbers,
      values.map((value) => value + 1),
    );
    const stream = collect(other.chunks$(taskId));
    await one.store(taskId, null);
    assert.equal(await stream.ended, "completed");
    assert.deepEqual(stream.seen, numbered(values));
  },

  "every subscriber gets the same chunks, whenever it subscribes, while several backends emit": async (suite) => {
    const [[one, other], third] = [await suite.openTwo(), await suite.open()];
    const taskId = suite.id("t");
    const streams = [collect(third.chunks$<string>(taskId))];
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const backend = index % 2 === 0 ? one : other;
        await backend.emit(taskId, `${index}`);
        if (index % 10 === 0) streams.push(collect(third.chunks$<string>(taskId)));
      }),
    );
    await one.store(taskId, null);
    for (const { ended } of streams) assert.equal(await ended, "completed");
    const [first, ...rest] = streams.map(({ seen }) => seen);
    for (const each of rest) assert.deepEqual(each, first);
    assert.deepEqual(
      first?.map(({ sequence }) => sequence),
      Array.from({ length: 100 }, (_, index) => index + 1),
    );
    const values = first.map((chunk) => (chunk.kind === "chunk" ? Number(chunk.value) : -1)).sort((a, b) => a - b);
    assert.deepEqual(
      values,
      Array.from({ length: 100 }, (_, index) => index),
    );
  },

  "a restart is an item of its own, and the chunks of the new attempt follow from 1": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    for (const value of ["a", "b"]) await one.emit(taskId, value);
    const live = collect(other.chunks$<string>(taskId));
    await eventually(() => assert.equal(live.seen.length, 2));
    assert.equal(await one.emit(taskId, "A", { restart: true }), 1);
    assert.equal(await one.emit(taskId, "B"), 2);
    await eventually(() => assert.equal(live.seen.length, 5));
    const resumed = [1, { attempt: 1, sequence: 2 }, { attempt: 2, sequence: 0 }, { attempt: 2, sequence: 1 }, 0].map(
      (after) => collect(other.chunks$<string>(taskId, { after })),
    );
    await one.store(taskId, null);
    const second = numbered(["A", "B"], 2);
    for (const stream of [live, ...resumed]) assert.equal(await stream.ended, "completed");
    assert.deepEqual(live.seen, [...numbered(["a", "b"]), restart(2), ...second]);
    const seen = resumed.map((stream) => stream.seen);
    assert.deepEqual(seen, [[restart(2), ...second], [restart(2), ...second], second, second.slice(1), second]);
  },

  "for await reads on from page to page, and can stop in between": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    await one.emit(taskId, 1);
    const seen: unknown[] = [];
    for await (const chunk of other.chunks$<number>(taskId)) {
      seen.push(chunk);
      if (chunk.kind === "chunk" && chunk.value < 5) await one.emit(taskId, chunk.value + 1);
      else await one.store(taskId, "done");
    }
    assert.deepEqual(seen, numbered([1, 2, 3, 4, 5]));
    for await (const chunk of other.chunks$(taskId, { after: 2 })) {
      assert.equal(chunk.sequence, 3);
      break;
    }
    await one.fail(taskId, new Error("no"));
    const failing = other.chunks$(taskId, { after: 5 })[Symbol.asyncIterator]();
    assert.equal(((await rejection(failing.next())) as Error).name, "TaskFailedError");
    await assertReleased(other);
  },

  "a loop over chunks can stop while it waits for one": async (suite) => {
    const backend = await suite.open();
    const chunks = backend.chunks$(suite.id("t"))[Symbol.asyncIterator]();
    const next = chunks.next();
    assert.ok(await isPending(next, backend.get(suite.id("t"))));
    await chunks.return?.();
    assert.deepEqual(await next, { done: true, value: undefined });
    assert.equal((await chunks.next()).done, true);
    await assertReleased(backend);
  },

  "emit is refused once the task has a result, until that is deleted with the chunks": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    await one.emit(taskId, 1);
    await one.store(taskId, "done");
    for (const options of [{}, { restart: true }]) {
      const error = (await rejection(other.emit(taskId, 2, options))) as { name: string; code: string; taskId: string };
      assert.deepEqual([error.name, error.code, error.taskId], ["TaskFinishedError", "TASK_FINISHED", taskId]);
    }
    assert.equal(await other.delete(taskId), true);
    assert.equal(await one.emit(taskId, "again"), 1);
    const stream = collect(other.chunks$(taskId).pipe(take(1)));
    await stream.ended;
    assert.deepEqual(stream.seen, numbered(["again"]));
  },

  "streams are cold, give copies, and let go when they are unsubscribed from": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    const cold$ = other.chunks$<number[]>(taskId);
    await assertReleased(other);
    const stopped = collect(cold$);
    stopped.stop();
    await assertReleased(other);
    const [first, second] = [collect(cold$.pipe(take(1))), collect(cold$.pipe(take(1)))];
    await one.emit(taskId, [1]);
    await Promise.all([first.ended, second.ended]);
    const [chunk] = first.seen;
    if (chunk?.kind === "chunk") chunk.value.push(2);
    assert.deepEqual([stopped.seen, second.seen], [[], numbered([[1]])]);
    await assertReleased(other);
  },

  "bad arguments are refused before anything is sent": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    const wrong: (() => unknown)[] = [
      () => backend.chunks$(""),
      () => backend.chunks$(taskId, { after: -1 }),
      () => backend.chunks$(taskId, { after: 1.5 }),
      () => backend.chunks$(taskId, { after: "1" as never }),
      () => backend.chunks$(taskId, { after: { attempt: 0, sequence: 1 } }),
      () => backend.chunks$(taskId, { after: { attempt: 1 } as never }),
    ];
    for (const call of wrong) assert.throws(call, /taskId|after/);
    const calls = [
      backend.emit("", 1),
      backend.emit(taskId, 1n),
      backend.emit(taskId, () => 1),
      backend.emit(taskId, 1, { restart: 1 as never }),
    ];
    const names = (await Promise.all(calls.map(rejection))).map((error) => (error as Error).name);
    assert.deepEqual(names, ["RangeError", "ResultEncodingError", "ResultEncodingError", "TypeError"]);
    assert.equal(await backend.emit(taskId, 1), 1);
  },

  "closing errors open streams, and rejects later calls": async (suite) => {
    const [one, other] = await suite.openTwo();
    const taskId = suite.id("t");
    const stream = collect(other.chunks$(taskId));
    const cold$ = other.chunks$(taskId);
    await other.close();
    await assertEndsWith(stream, { name: "BackendClosedError" });
    await assertEndsWith(collect(cold$), { name: "BackendClosedError" });
    assert.equal(((await rejection(other.emit(taskId, 1))) as Error).name, "BackendClosedError");
    assert.equal(await one.emit(taskId, 1), 1);
  },
};
