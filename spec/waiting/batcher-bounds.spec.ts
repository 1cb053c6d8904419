import { setImmediate as turn } from "node:timers/promises";
import { Bench, isSettled, item, type Item, keysOf } from "../support/batcher-bench";

describe("a queue with bounds", () => {
  it("lets what is beyond its rows wait outside, and takes it in order as it empties", async () => {
    const bench = new Bench({ maxItems: 2, maxQueuedItems: 3 });
    bench.add(...["a", "b", "c", "d", "e", "f"].map((key) => item(key)));
    expect(bench.batcher).toMatchObject({ queued: 3, waiting: 3 });
    await turn();
    expect(bench.batcher).toMatchObject({ queued: 3, waiting: 1 });
    for (let batch = 0; batch < 3; batch += 1) await bench.finish();
    expect(bench.keys).toEqual([
      ["a", "b"],
      ["c", "d"],
      ["e", "f"],
    ]);
    expect(bench.batcher).toMatchObject({ queued: 0, waiting: 0 });
  });

  it("counts bytes too, and takes an item that is larger than the bound alone", async () => {
    const bench = new Bench({ maxQueuedBytes: 10 });
    bench.add(item("a", 0, 6), item("b", 0, 4), item("c", 0, 1));
    expect(bench.batcher).toMatchObject({ queued: 2, waiting: 1 });
    await turn();
    bench.add(item("large", 0, 100));
    expect(bench.batcher).toMatchObject({ queued: 1, waiting: 1 });
    await bench.finish();
    expect(bench.batcher).toMatchObject({ queued: 1, waiting: 0 });
    await bench.finish();
    expect(bench.keys).toEqual([["a", "b"], ["c"], ["large"]]);
  });

  it("keeps the order of one key: what waits outside comes after what is queued", async () => {
    const bench = new Bench({ maxQueuedBytes: 10 });
    bench.add(item("a", 1, 8), item("b", 2, 4), item("a", 3, 8), item("b", 4, 1));
    expect(bench.batcher).toMatchObject({ queued: 1, waiting: 2 });
    for (let batch = 0; batch < 3; batch += 1) await bench.finish();
    expect(bench.batches).toEqual([
      [{ key: "a", bytes: 8, values: [1] }],
      [
        { key: "b", bytes: 1, values: [2, 4] },
        { key: "a", bytes: 8, values: [3] },
      ],
    ]);
  });

  it("lets items leave, wherever they wait, and others take their room", async () => {
    const bench = new Bench({ maxQueuedItems: 2 });
    const [a, b, c, d] = ["a", "b", "c", "d"].map((key) => item(key)) as [Item, Item, Item, Item];
    bench.add(a, b, c, d);
    bench.batcher.remove(c);
    bench.batcher.remove(a);
    expect(bench.batcher).toMatchObject({ queued: 2, waiting: 0 });
    await turn();
    expect(bench.keys).toEqual([["b", "d"]]);
    bench.batcher.remove(b);
    expect(bench.batcher.inFlight).toBe(1);
  });

  it("is emptied at once when it is cleared", async () => {
    const bench = new Bench({ maxQueuedItems: 1 });
    bench.add(item("a"), item("b"));
    const drained = bench.batcher.drain();
    expect(keysOf(bench.batcher.clear())).toEqual(["a", "b"]);
    await expect(drained).resolves.toBeUndefined();
    await turn();
    expect(bench.batches).toEqual([]);
  });
});

describe("an item that is held", () => {
  const holding = (): Bench => {
    const bench: Bench = new Bench({
      inFlight: 2,
      exclusiveKeys: true,
      maxQueuedItems: 2,
      run: (items) => {
        bench.batches.push(items);
        for (const each of items) if (each.key === "held") bench.batcher.hold(each);
        return Promise.resolve();
      },
    });
    return bench;
  };

  it("keeps its key, and its place in the queue, while its batch comes back", async () => {
    const bench = holding();
    const held = item("held", 1);
    bench.add(held, item("a"));
    await turn();
    expect(bench.batcher).toMatchObject({ queued: 1, inFlight: 0 });
    bench.add(item("held", 2), item("b"));
    expect(bench.batcher).toMatchObject({ queued: 2, waiting: 1 });
    await turn();
    expect(bench.keys).toEqual([["held", "a"]]);
    bench.batcher.release(held);
    await turn();
    expect(bench.keys.slice(1)).toEqual([["held", "b"]]);
  });

  it("takes up room once, however often it is held", () => {
    const bench = new Bench({ maxQueuedBytes: 10 });
    const held = item("held", 1, 4);
    for (let times = 0; times < 3; times += 1) bench.batcher.hold(held);
    bench.batcher.release(held);
    bench.add(item("a", 1, 5), item("b", 1, 5));
    expect(bench.batcher).toMatchObject({ queued: 2, waiting: 0 });
  });

  it("is waited for when draining", async () => {
    const bench = holding();
    const held = item("held");
    bench.add(held);
    await turn();
    const drained = bench.batcher.drain();
    expect(await isSettled(drained)).toBe(false);
    bench.batcher.release(held);
    await expect(drained).resolves.toBeUndefined();
  });
});
