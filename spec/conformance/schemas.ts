import assert from "node:assert/strict";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  BackendClosedError,
  type Chunk,
  type ResultSchema,
  ResultValidationError,
  WaitTimeoutError,
} from "kojin-postgres";
import { eventually } from "./eventually";
import { assertEndsWith, collect, isPending, longMs, rejection, type Specs } from "./suite";

type Outcome<T> = StandardSchemaV1.Result<T> | Promise<StandardSchemaV1.Result<T>>;

const schemaOf = <T>(validate: (value: unknown) => Outcome<T>): ResultSchema<T> => ({
  "~standard": { version: 1, vendor: "conformance", validate },
});

const twice = schemaOf((value) =>
  typeof value === "number"
    ? { value: value * 2 }
    : { issues: [{ message: "not a number", path: ["a", { key: 0 }] }, { message: "nor a sum" }] },
);
const twiceLater = schemaOf(async (value) => {
  await Promise.resolve();
  return twice["~standard"].validate(value);
});
const throwing = schemaOf<number>(() => {
  throw new Error("broken schema");
});
const silent = schemaOf<number>(async () => new Promise(() => undefined));

/** A schema that never answers, and a promise that resolves once it has been asked. */
function silentOnceAsked(): { readonly schema: ResultSchema<number>; readonly asked: Promise<void> } {
  let onAsked = (): void => undefined;
  const asked = new Promise<void>((resolve) => (onAsked = resolve));
  const schema = schemaOf<number>(async () => {
    onAsked();
    return new Promise(() => undefined);
  });
  return { schema, asked };
}

const valuesOf = (chunks: readonly Chunk<unknown>[]): unknown[] =>
  chunks.flatMap((chunk) => (chunk.kind === "chunk" ? [chunk.value] : []));

export const schemaSpecs: Specs = {
  "gives what the schema makes of the result, in every way of reading it": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    for (const schema of [twice, twiceLater]) {
      const taskId = suite.id(schema === twice ? "sync" : "async");
      const feed = collect(reading.results$({ where: (id) => id === taskId, schema }));
      const [waited, stream] = [
        reading.wait(taskId, { timeoutMs: longMs, schema }),
        collect(reading.result$(taskId, { schema })),
      ];
      await storing.store(taskId, 4);
      assert.equal(await waited, 8);
      assert.equal(await stream.ended, "completed");
      assert.deepEqual(stream.seen, [8]);
      assert.equal(await reading.get(taskId, { schema }), 8);
      assert.equal(await reading.wait(taskId, { timeoutMs: 0, schema }), 8);
      const settled = { status: "fulfilled", value: 8 };
      assert.deepEqual(await reading.getSettled(taskId, { schema }), settled);
      assert.deepEqual(await reading.waitSettled(taskId, { timeoutMs: 0, schema }), settled);
      await eventually(() => assert.deepEqual(feed.seen, [{ taskId, ...settled }]));
      feed.stop();
      assert.equal(await reading.get(taskId), 4);
      assert.equal(await reading.get(suite.id("nothing"), { schema }), undefined);
      assert.equal(await reading.getSettled(suite.id("nothing"), { schema }), undefined);
    }
  },

  "rejects with an error of its own where the schema does not take the result, which stays": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const taskId = suite.id("text");
    await storing.store(taskId, "text");
    for (const schema of [twice, twiceLater]) {
      const calls = [
        reading.get(taskId, { schema }),
        reading.getSettled(taskId, { schema }),
        reading.wait(taskId, { timeoutMs: longMs, schema }),
        reading.waitSettled(taskId, { timeoutMs: longMs, schema }),
        collect(reading.result$(taskId, { schema })).ended.then((end) => Promise.reject(end as Error)),
      ];
      for (const error of await Promise.all(calls.map(rejection))) {
        assert.ok(error instanceof ResultValidationError);
        assert.deepEqual(
          [error.name, error.code, error.taskId],
          ["ResultValidationError", "RESULT_VALIDATION", taskId],
        );
        assert.equal(error.issues.length, 2);
        assert.match(error.message, /expected form: a\.0: not a number \(and 1 more\)\.$/);
      }
    }
    assert.equal(await reading.get(taskId), "text");
  },

  "leaves the failure of a task what it is": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("failed");
    await backend.fail(taskId, new Error("no"));
    await assert.rejects(backend.get(taskId, { schema: twice }), { code: "TASK_FAILED" });
    await assert.rejects(backend.wait(taskId, { timeoutMs: 0, schema: twice }), { code: "TASK_FAILED" });
    for (const settled of [
      await backend.getSettled(taskId, { schema: twice }),
      await backend.waitSettled(taskId, { timeoutMs: 0, schema: twice }),
    ])
      assert.ok(settled?.status === "rejected" && (settled.reason as { code: string }).code === "TASK_FAILED");
  },

  "lets a schema that throws, or never answers, affect its own caller only": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const taskId = suite.id("shared");
    const feeds = [silent, throwing, twice].map((schema) =>
      collect(reading.results$({ where: (id) => suite.isOwn(id), schema })),
    );
    const hanging = reading.wait(taskId, { timeoutMs: Infinity, schema: silent }).catch((error: unknown) => error);
    const [thrown, fine, plain] = [
      rejection(reading.wait(taskId, { timeoutMs: longMs, schema: throwing })),
      reading.wait(taskId, { timeoutMs: longMs, schema: twice }),
      reading.wait(taskId, longMs),
    ];
    const stream = collect(reading.result$(taskId, { schema: throwing }));
    await storing.store(taskId, 1);
    const error = await thrown;
    assert.ok(error instanceof ResultValidationError && (error.cause as Error).message === "broken schema");
    assert.deepEqual([await fine, await plain], [2, 1]);
    await assertEndsWith(stream, { code: "RESULT_VALIDATION", taskId });
    await storing.store(suite.id("text"), "text");
    await eventually(() => assert.equal(feeds[2]?.seen.length, 2));
    await eventually(() => assert.equal(feeds[1]?.seen.length, 2));
    const statuses = feeds.map(({ seen }) => seen.map(({ status }) => status));
    assert.deepEqual(statuses, [[], ["rejected", "rejected"], ["fulfilled", "rejected"]]);
    await reading.close();
    assert.ok((await hanging) instanceof BackendClosedError);
    for (const feed of feeds) await assertEndsWith(feed, { code: "BACKEND_CLOSED" });
  },

  "ends a wait in time, or when it is aborted, though the schema never answers": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("slow");
    await backend.store(taskId, 1);
    const late = await rejection(backend.wait(taskId, { timeoutMs: 1, schema: silent }));
    assert.ok(late instanceof WaitTimeoutError);
    assert.deepEqual([late.taskId, late.timeoutMs], [taskId, 1]);
    assert.match(late.message, /^Task .* its schema did not validate the result within 1 ms/);
    const groupId = suite.id("slow group");
    await backend.initGroup(groupId, 1);
    await backend.completeGroupMember(groupId, "a", 1);
    const lateGroup = await rejection(backend.waitGroup(groupId, { timeoutMs: 1, schema: silent }));
    assert.ok(lateGroup instanceof WaitTimeoutError);
    assert.deepEqual([lateGroup.groupId, lateGroup.taskId], [groupId, undefined]);
    assert.match(lateGroup.message, /^Group .* its schema did not validate the result within 1 ms/);
    const controller = new AbortController();
    const aborted = rejection(
      backend.waitSettled(taskId, { timeoutMs: longMs, schema: silent, signal: controller.signal }),
    );
    await backend.wait(taskId, 0);
    controller.abort("enough");
    assert.equal(await aborted, "enough");
    const withNull = new AbortController();
    const abortedWithNull = rejection(
      backend.wait(taskId, { timeoutMs: longMs, schema: silent, signal: withNull.signal }),
    );
    await backend.wait(taskId, 0);
    withNull.abort(null);
    assert.equal(await abortedWithNull, null);
  },

  "ends a validation that begins while the backend is closed": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("closing");
    await backend.store(taskId, 1);
    const reading = rejection(backend.get(taskId, { schema: silent }));
    await backend.close();
    assert.ok((await reading) instanceof BackendClosedError);
  },

  "checks each result of a group": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    const groupId = suite.id("group");
    const bad = suite.id("bad");
    await storing.initGroup(groupId, ["a", "b"]);
    const waited = reading.waitGroup(groupId, { timeoutMs: longMs, schema: twiceLater });
    const members = collect(reading.groupMembers$(groupId, { schema: twice }));
    const results = collect(reading.groupResults$(groupId, { schema: twice }));
    await storing.completeGroupMember(groupId, "a", 1);
    assert.deepEqual(await reading.getGroupResults(groupId, { schema: twice }), [2]);
    await storing.completeGroupMember(groupId, "b", 2);
    assert.deepEqual(await waited, [2, 4]);
    assert.deepEqual([await members.ended, await results.ended], ["completed", "completed"]);
    assert.deepEqual(results.seen, [[2, 4]]);
    assert.deepEqual(
      members.seen.map((outcome) => outcome.status === "fulfilled" && outcome.value),
      [2, 4],
    );
    await storing.initGroup(bad, ["a", "b"]);
    await storing.completeGroupMember(bad, "a", 1);
    await storing.completeGroupMember(bad, "b", "text");
    const isOfB = { code: "RESULT_VALIDATION", taskId: "b" };
    await assert.rejects(reading.waitGroup(bad, { timeoutMs: longMs, schema: twice }), isOfB);
    await assert.rejects(reading.getGroupResults(bad, { schema: twice }), isOfB);
    await assertEndsWith(collect(reading.groupResults$(bad, { schema: twice })), isOfB);
    const outcomes = collect(reading.groupMembers$(bad, { schema: twiceLater }));
    assert.equal(await outcomes.ended, "completed");
    assert.deepEqual(
      outcomes.seen.map(({ status }) => status),
      ["fulfilled", "rejected"],
    );
  },

  "lets a wait that is being checked go on when the backend drains": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    let answer: ((outcome: StandardSchemaV1.Result<number>) => void) | undefined;
    const held = schemaOf<number>(async () => new Promise((resolve) => (answer = resolve)));
    const waited = reading.wait(suite.id("held"), { timeoutMs: longMs, schema: held });
    const closing = reading.close({ drainMs: longMs });
    await storing.store(suite.id("held"), 1);
    await eventually(() => assert.ok(answer));
    // Longer than closing takes if the backend does not wait for this.
    assert.ok(await isPending(closing, storing.wait(suite.id("held"), 0)));
    answer?.({ value: 3 });
    assert.equal(await waited, 3);
    await closing;
  },

  "gives what the schema makes of each chunk, in order, and ends with the first one that it rejects": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    for (const schema of [twice, twiceLater]) {
      const taskId = suite.id(schema === twice ? "sync" : "async");
      const stream = collect(reading.chunks$(taskId, { schema }));
      for (const chunk of [1, 2, 3]) await storing.emit(taskId, chunk);
      await storing.emit(taskId, 4, { restart: true });
      await eventually(() => assert.deepEqual(valuesOf(stream.seen).slice(-1), [8]));
      const values: unknown[] = [];
      for await (const chunk of reading.chunks$(taskId, { schema })) {
        values.push(...valuesOf([chunk]));
        if (values.length === 1) await storing.emit(taskId, 5);
        else if (values.length === 2) await storing.store(taskId, "done");
      }
      assert.deepEqual(values, [8, 10]);
      assert.equal(await stream.ended, "completed");
      const rejecting = suite.id(`${taskId} text`);
      for (const chunk of [1, "text", 2]) await storing.emit(rejecting, chunk);
      const rejected = collect(reading.chunks$(rejecting, { schema }));
      await assertEndsWith(rejected, { name: "ResultValidationError", taskId: rejecting });
      assert.deepEqual(valuesOf(rejected.seen), [2]);
    }
  },

  "gives the chunks of a failed task before its failure, however long their schema takes": async (suite) => {
    const [storing, reading] = await suite.openTwo();
    for (const schema of [twice, twiceLater]) {
      const taskId = suite.id(schema === twice ? "sync" : "async");
      const early = collect(reading.chunks$(taskId, { schema }));
      for (const chunk of [1, 2, 3]) await storing.emit(taskId, chunk);
      await storing.fail(taskId, new Error("no"));
      for (const stream of [early, collect(reading.chunks$(taskId, { schema }))]) {
        await assertEndsWith(stream, { name: "TaskFailedError", taskId });
        assert.deepEqual(valuesOf(stream.seen), [2, 4, 6]);
      }
    }
  },

  "a loop over chunks can stop while a schema does not answer": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    await backend.emit(taskId, 1);
    const { schema, asked } = silentOnceAsked();
    const chunks = backend.chunks$(taskId, { schema })[Symbol.asyncIterator]();
    const next = chunks.next();
    await asked;
    await chunks.return?.();
    assert.equal((await next).done, true);
  },

  "closing ends a stream of chunks whose schema does not answer": async (suite) => {
    const backend = await suite.open();
    const taskId = suite.id("t");
    await backend.emit(taskId, 1);
    const { schema, asked } = silentOnceAsked();
    const stream = collect(backend.chunks$(taskId, { schema }));
    await asked;
    await backend.store(taskId, "done");
    await backend.close();
    await assertEndsWith(stream, { name: "BackendClosedError" });
  },

  "refuses what is no schema, before anything else": async (suite) => {
    const backend = await suite.open();
    for (const schema of [null, 1, "text", {}, { "~standard": {} }, []] as unknown[]) {
      const options = { schema: schema as ResultSchema<number> };
      const waitOptions = { timeoutMs: 0, ...options };
      const isTypeError = (error: unknown): boolean =>
        error instanceof TypeError && error.message.startsWith("schema: ");
      for (const call of [
        () => backend.get("task", options),
        () => backend.getSettled("task", options),
        () => backend.wait("task", waitOptions),
        () => backend.waitSettled("task", waitOptions),
        () => backend.waitGroup("group", waitOptions),
        () => backend.getGroupResults("group", options),
      ])
        await assert.rejects(call, isTypeError);
      assert.throws(() => backend.result$("task", options), isTypeError);
      assert.throws(() => backend.chunks$("task", options), isTypeError);
      assert.throws(() => backend.results$(options), isTypeError);
      assert.throws(() => backend.groupMembers$("group", options), isTypeError);
      assert.throws(() => backend.groupResults$("group", options), isTypeError);
    }
  },
};
