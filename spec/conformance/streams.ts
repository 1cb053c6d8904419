import assert from "node:assert/strict";
import { eventually } from "./eventually";
import { assertEndsWith, assertReleased, collect, type Specs } from "./suite";

export const streamSpecs: Specs = {
  "result$ emits the stored result, or the next one, and completes": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    await storing.store(suite.id("there"), { n: 1 });
    const [there, later] = [collect(watching.result$(suite.id("there"))), collect(watching.result$(suite.id("later")))];
    assert.equal(await there.ended, "completed");
    await storing.store(suite.id("later"), null);
    assert.equal(await later.ended, "completed");
    assert.deepEqual([there.seen, later.seen], [[{ n: 1 }], [null]]);
    await assertReleased(watching);
  },

  "result$ is cold: each subscriber has its own wait, and its own copy": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const result$ = watching.result$<number[]>(suite.id("cold"));
    await assertReleased(watching);
    const [one, other] = [collect(result$), collect(result$)];
    await storing.store(suite.id("cold"), [1]);
    await Promise.all([one.ended, other.ended]);
    one.seen[0]?.push(2);
    assert.deepEqual(other.seen, [[1]]);
    const again = collect(result$);
    await again.ended;
    assert.deepEqual(again.seen, [[1]]);
  },

  "result$ errors with the failure of the task": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const failing = collect(watching.result$(suite.id("failed")));
    await storing.fail(suite.id("failed"), new Error("no"));
    await assertEndsWith(failing, { code: "TASK_FAILED", taskId: suite.id("failed") });
  },

  "result$ lets go when it is unsubscribed from": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const [stopped, other] = [collect(watching.result$(suite.id("a"))), collect(watching.result$(suite.id("a")))];
    stopped.stop();
    await storing.store(suite.id("a"), 1);
    await other.ended;
    assert.deepEqual([stopped.seen, other.seen], [[], [1]]);
    await assertReleased(watching);
  },

  "results$ emits every result that is stored from now on, by whomever, failures too": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const earlier = collect(watching.results$({ where: (taskId) => suite.isOwn(taskId) }));
    await storing.store(suite.id("old"), 0);
    // A backend does not emit to a new subscriber what it has emitted to an earlier one.
    await eventually(() => assert.equal(earlier.seen.length, 1));
    const feed = collect(watching.results$({ where: (taskId) => suite.isOwn(taskId) }));
    await storing.store(suite.id("new"), { n: 1 });
    await storing.fail(suite.id("bad"), new Error("no"));
    await watching.store(suite.id("own"), null);
    await eventually(() => assert.equal(feed.seen.length, 3));
    const byId = new Map(feed.seen.map((outcome) => [outcome.taskId, outcome]));
    assert.deepEqual(byId.get(suite.id("new")), { taskId: suite.id("new"), status: "fulfilled", value: { n: 1 } });
    assert.deepEqual(byId.get(suite.id("own")), { taskId: suite.id("own"), status: "fulfilled", value: null });
    const bad = byId.get(suite.id("bad"));
    assert.ok(bad?.status === "rejected" && (bad.reason as { code: string }).code === "TASK_FAILED");
  },

  "results$ shows a result again when it is stored again, but not one that is kept": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const feed = collect(watching.results$<number>({ where: (taskId) => suite.isOwn(taskId) }));
    for (const [index, value] of [1, 2, 2].entries()) {
      await storing.store(suite.id("again"), value);
      await eventually(() => assert.equal(feed.seen.length, index + 1));
    }
    await storing.store(suite.id("again"), 3, { onConflict: "keep" });
    await storing.store(suite.id("marker"), 4);
    await eventually(() => assert.equal(feed.seen.length, 4));
    assert.deepEqual(
      feed.seen.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : undefined)),
      [1, 2, 2, 4],
    );
  },

  "results$ emits what its condition lets through, and ends only the subscription whose condition throws": async (
    suite,
  ) => {
    const [storing, watching] = await suite.openTwo();
    const broken = collect(
      watching.results$({
        where: () => {
          throw new Error("condition");
        },
      }),
    );
    const mine = collect(watching.results$({ where: (taskId) => taskId === suite.id("mine") }));
    await storing.store(suite.id("theirs"), 1);
    await storing.store(suite.id("mine"), 2);
    await eventually(() => assert.equal(mine.seen.length, 1));
    assert.equal(mine.seen[0]?.taskId, suite.id("mine"));
    await assertEndsWith(broken, { message: "condition" });
  },

  "results$ gives each subscriber its own copy, and stops when unsubscribed from": async (suite) => {
    const [storing, watching] = await suite.openTwo();
    const where = (taskId: string): boolean => suite.isOwn(taskId);
    const feeds = [
      collect(watching.results$<number[]>({ where })),
      collect(watching.results$<number[]>({ where })),
    ] as const;
    await storing.store(suite.id("a"), [1]);
    await eventually(() => feeds.forEach(({ seen }) => assert.equal(seen.length, 1)));
    const [first] = feeds[0].seen;
    if (first?.status === "fulfilled") first.value.push(2);
    assert.deepEqual(feeds[1].seen[0], { taskId: suite.id("a"), status: "fulfilled", value: [1] });
    feeds[0].stop();
    await storing.store(suite.id("b"), [1]);
    await eventually(() => assert.equal(feeds[1].seen.length, 2));
    assert.equal(feeds[0].seen.length, 1);
  },
};
