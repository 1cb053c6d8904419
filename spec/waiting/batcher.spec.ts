import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";

import { Bench, isSettled, item, type Item, keysOf } from "../support/batcher-bench";

describe("while nothing is under way", () => {
  it("sends in one batch what was added in the same turn", async () => {
    const bench = new Bench();
    bench.add(item("a"), item("b"));
    queueMicrotask(() => bench.add(item("c")));
    void Promise.resolve()
      .then(() => undefined)
      .then(() => bench.add(item("d")));
    process.nextTick(() => bench.add(item("e")));
    expect(bench.batches).toEqual([]);
    expect(bench.batcher.queued).toBe(2);
    await turn();
    expect(bench.keys.map((keys) => keys.toSorted())).toEqual([["a", "b", "c", "d", "e"]]);
    expect(bench.batcher).toMatchObject({ queued: 0, inFlight: 1 });
  });

  it("sends again once there is something again", async () => {
    const bench = new Bench();
    bench.add(item("a"));
    await turn();
    await bench.finish();
    expect(bench.batcher.inFlight).toBe(0);
    bench.add(item("a"));
    await turn();
    expect(bench.keys).toEqual([["a"], ["a"]]);
  });
});

describe("while a batch is under way", () => {
  it("collects what is added, and sends it together", async () => {
    const bench = new Bench();
    bench.add(item("a"));
    await turn();
    for (const key of ["b", "c", "d"]) {
      bench.add(item(key));
      await turn();
    }
    expect(bench.keys).toEqual([["a"]]);
    expect(bench.batcher.queued).toBe(3);
    await bench.finish();
    expect(bench.keys).toEqual([["a"], ["b", "c", "d"]]);
  });

  it("sends into the next batch what those who were just served add", async () => {
    const added = ["b", "c"];
    let finish = (): void => undefined;
    const bench = new Bench({
      run: async (items) => {
        bench.batches.push(items);
        await new Promise<void>((resolve) => (finish = resolve));
        for (const key of added.splice(0)) void Promise.resolve().then(() => bench.add(item(key)));
      },
    });
    bench.add(item("a"));
    await turn();
    bench.add(item("d"));
    finish();
    await turn();
    expect(bench.keys).toEqual([["a"], ["d", "b", "c"]]);
  });

  it("has at most as many batches under way as it may", async () => {
    const bench = new Bench({ inFlight: 2, maxItems: 1 });
    bench.add(item("a"), item("b"), item("c"), item("d"));
    await turn();
    expect(bench.keys).toEqual([["a"], ["b"]]);
    expect(bench.batcher).toMatchObject({ queued: 2, inFlight: 2 });
    await bench.finish(1);
    expect(bench.keys).toEqual([["a"], ["b"], ["c"]]);
    expect(bench.batcher.inFlight).toBe(2);
  });

  it("sends a second batch at once if it may have two", async () => {
    const bench = new Bench({ inFlight: 2 });
    bench.add(item("a"));
    await turn();
    bench.add(item("b"));
    await turn();
    expect(bench.keys).toEqual([["a"], ["b"]]);
  });
});

describe("the size of a batch", () => {
  it("is at most maxItems", async () => {
    const bench = new Bench({ maxItems: 2 });
    bench.add(item("a"), item("b"), item("c"));
    await turn();
    await bench.finish();
    expect(bench.keys).toEqual([["a", "b"], ["c"]]);
  });

  it("is at most maxBytes, and may be exactly that", async () => {
    const bench = new Bench({ maxBytes: 10 });
    bench.add(item("a", 0, 4), item("b", 0, 6), item("c", 0, 5), item("d", 0, 6));
    for (let batch = 0; batch < 3; batch += 1) await bench.finish();
    expect(bench.keys).toEqual([["a", "b"], ["c"], ["d"]]);
  });

  it("is one for an item that is larger than maxBytes", async () => {
    const bench = new Bench({ maxBytes: 10 });
    bench.add(item("a"), item("large", 0, 11), item("empty", 0, 0), item("larger", 0, 100));
    for (let batch = 0; batch < 4; batch += 1) await bench.finish();
    expect(bench.keys).toEqual([["a"], ["large"], ["empty"], ["larger"]]);
  });
});

describe("a key that is added again", () => {
  it("is merged into the item that is queued, and keeps its place", async () => {
    const bench = new Bench();
    bench.add(item("a", 1), item("b", 2), item("a", 3, 7));
    expect(bench.batcher.queued).toBe(2);
    await turn();
    expect(bench.batches).toEqual([[{ key: "a", bytes: 7, values: [1, 3] }, item("b", 2)]]);
  });

  it("never joins a batch that has been sent", async () => {
    const bench = new Bench();
    bench.add(item("a", 1));
    await turn();
    bench.add(item("a", 2), item("a", 3));
    await turn();
    expect(bench.batches).toEqual([[item("a", 1)]]);
    await bench.finish();
    expect(bench.batches[1]).toEqual([{ key: "a", bytes: 1, values: [2, 3] }]);
  });

  it("is under way twice if keys are not exclusive", async () => {
    const bench = new Bench({ inFlight: 2 });
    bench.add(item("a", 1));
    await turn();
    bench.add(item("a", 2));
    await turn();
    expect(bench.batches).toEqual([[item("a", 1)], [item("a", 2)]]);
  });

  it("waits until it has come back if keys are exclusive, while others pass it", async () => {
    const bench = new Bench({ inFlight: 2, exclusiveKeys: true });
    bench.add(item("a", 1));
    await turn();
    bench.add(item("a", 2), item("b"));
    await turn();
    expect(bench.keys).toEqual([["a"], ["b"]]);
    bench.add(item("a", 3));
    await bench.finish(1);
    expect(bench.batches).toHaveLength(2);
    await bench.finish();
    expect(bench.batches[2]).toEqual([{ key: "a", bytes: 1, values: [2, 3] }]);
  });
});

describe("draining", () => {
  it("is done at once if nothing is queued or under way", async () => {
    await expect(new Bench().batcher.drain()).resolves.toBeUndefined();
  });

  it("is done for all who asked when the last batch has come back", async () => {
    const bench = new Bench({ maxItems: 1 });
    bench.add(item("a"));
    const drained = bench.batcher.drain();
    await turn();
    bench.add(item("b"));
    const both = Promise.race([drained, bench.batcher.drain()]);
    await bench.finish();
    expect(await isSettled(both)).toBe(false);
    await bench.finish();
    await expect(Promise.all([drained, both])).resolves.toBeDefined();
  });

  it("waits for every batch that is under way", async () => {
    const bench = new Bench({ inFlight: 2, maxItems: 1 });
    bench.add(item("a"), item("b"));
    await turn();
    const drained = bench.batcher.drain();
    await bench.finish(1);
    expect(await isSettled(drained)).toBe(false);
    await bench.finish();
    expect(await isSettled(drained)).toBe(true);
  });
});

const anyAddition = fc.record({ key: fc.constantFrom("a", "b", "c", "d", "e"), bytes: fc.nat(12) });
const anyLimits = fc.record({
  maxItems: fc.integer({ min: 1, max: 4 }),
  maxBytes: fc.integer({ min: 1, max: 20 }),
  inFlight: fc.integer({ min: 1, max: 3 }),
  exclusiveKeys: fc.boolean(),
});

it("runs every value exactly once and within its limits, in whatever order things happen", async () => {
  const property = fc.asyncProperty(
    fc.scheduler(),
    anyLimits,
    fc.array(anyAddition, { maxLength: 30, size: "max" }),
    async (scheduler, limits, additions) => {
      const underWay = new Set<Item[]>();
      const sent: { readonly items: Item[]; readonly besides: Item[][] }[] = [];
      const bench = new Bench({
        ...limits,
        run: async (items) => {
          sent.push({ items, besides: [...underWay] });
          underWay.add(items);
          await scheduler.schedule(Promise.resolve(), `run ${keysOf(items).join()}`);
          underWay.delete(items);
        },
      });
      const steps = additions.map(({ key, bytes }, value) => ({
        label: `add ${key}`,
        builder: async (): Promise<void> => {
          bench.add(item(key, value, bytes));
          return Promise.resolve();
        },
      }));
      scheduler.scheduleSequence(steps);
      await turn();
      while (scheduler.count() > 0) {
        await scheduler.waitNext(1);
        await turn();
      }
      await bench.batcher.drain();

      expect(bench.batcher).toMatchObject({ queued: 0, inFlight: 0 });
      for (const { items, besides } of sent) {
        expect(items.length).toBeGreaterThan(0);
        expect(items.length).toBeLessThanOrEqual(limits.maxItems);
        const bytes = items.reduce((sum, each) => sum + each.bytes, 0);
        if (items.length > 1) expect(bytes).toBeLessThanOrEqual(limits.maxBytes);
        expect(besides.length).toBeLessThan(limits.inFlight);
        expect(new Set(keysOf(items)).size).toBe(items.length);
        const others = besides.flatMap(keysOf);
        if (limits.exclusiveKeys) expect(keysOf(items).filter((key) => others.includes(key))).toEqual([]);
      }
      const ran = sent.flatMap(({ items }) => items);
      expect(ran.flatMap(({ values }) => values).toSorted((a, b) => a - b)).toEqual([...additions.keys()]);
      // The last value of a key is the last one that is sent, as the database has to end up with it.
      for (const key of new Set(keysOf(ran))) {
        const ofKey = ran.filter((each) => each.key === key).flatMap(({ values }) => values);
        expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b));
      }
    },
  );
  await fc.assert(property, { numRuns: 300 });
});
