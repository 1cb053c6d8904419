import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { type BatchItem, Batcher } from "../../lib/waiting/batcher";

interface Item extends BatchItem {
  /** The values added under the key. The last one counts. */
  readonly values: readonly number[];
}

type Step =
  | { readonly do: "add"; readonly key: string; readonly bytes: number }
  | { readonly do: "finish"; readonly which: number }
  | { readonly do: "drain" };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("add"),
      key: fc.constantFrom("a", "b", "c", "d", "e", "f"),
      bytes: fc.nat(15),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("finish"), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("drain") }) },
);
const anyLimits = fc.record({
  maxItems: fc.integer({ min: 1, max: 4 }),
  maxBytes: fc.integer({ min: 1, max: 20 }),
  inFlight: fc.integer({ min: 1, max: 3 }),
  exclusiveKeys: fc.boolean(),
});

/** A batcher and a model of its promises. */
class Model {
  readonly batcher: Batcher<Item>;
  readonly underWay: { readonly items: readonly Item[]; readonly finish: () => void }[] = [];
  readonly sent: Item[] = [];
  readonly #drains: { isDone: boolean; mayBeDone: boolean }[] = [];
  #added = 0;

  constructor(readonly limits: { maxItems: number; maxBytes: number; inFlight: number; exclusiveKeys: boolean }) {
    this.batcher = new Batcher<Item>({
      ...limits,
      merge: (queued, added) => ({ ...added, values: [...queued.values, ...added.values] }),
      run: async (items) => {
        this.#checkBatch(items);
        this.sent.push(...items);
        await new Promise<void>((resolve) => this.underWay.push({ items, finish: resolve }));
      },
    });
  }

  async take(step: Step): Promise<void> {
    if (step.do === "add") this.batcher.add({ key: step.key, bytes: step.bytes, values: [this.#added++] });
    else if (step.do === "finish") this.underWay.splice(step.which % Math.max(this.underWay.length, 1), 1)[0]?.finish();
    else this.#drain();
    await turn();
    this.#check();
  }

  checkEnd(): void {
    expect(this.batcher).toMatchObject({ queued: 0, inFlight: 0 });
    expect(this.#drains.every(({ isDone }) => isDone)).toBe(true);
    const values = this.sent.flatMap((item) => item.values);
    expect(values.toSorted((a, b) => a - b)).toEqual(Array.from({ length: this.#added }, (_, index) => index));
    // Whatever the order of the batches, each key ends with the last value added.
    const latest = new Map(this.sent.map((item) => [item.key, item.values]));
    for (const [key, ofKey] of latest) {
      const all = this.sent.filter((item) => item.key === key).flatMap((item) => item.values);
      expect(ofKey.at(-1)).toBe(Math.max(...all));
    }
  }

  get #isEmpty(): boolean {
    return this.batcher.queued === 0 && this.underWay.length === 0;
  }

  #drain(): void {
    const drain = { isDone: false, mayBeDone: this.#isEmpty };
    this.#drains.push(drain);
    void this.batcher.drain().then(() => (drain.isDone = true));
  }

  #checkBatch(items: readonly Item[]): void {
    const { maxItems, maxBytes, inFlight, exclusiveKeys } = this.limits;
    expect(items.length).toBeGreaterThan(0);
    expect(items.length).toBeLessThanOrEqual(maxItems);
    if (items.length > 1) expect(items.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(maxBytes);
    expect(this.underWay.length).toBeLessThan(inFlight);
    const keys = new Set(items.map(({ key }) => key));
    expect(keys.size).toBe(items.length);
    if (exclusiveKeys) for (const { key } of this.#itemsUnderWay) expect(keys.has(key)).toBe(false);
  }

  #check(): void {
    const { inFlight, exclusiveKeys } = this.limits;
    expect(this.batcher.inFlight).toBe(this.underWay.length);
    const waiting = this.#added - this.sent.flatMap(({ values }) => values).length;
    expect(this.batcher.queued > 0).toBe(waiting > 0);
    // No item is queued while there is room in flight.
    if (this.batcher.queued > 0 && this.underWay.length < inFlight) {
      expect(exclusiveKeys).toBe(true);
      expect(this.batcher.queued).toBeLessThanOrEqual(this.#itemsUnderWay.length);
    }
    for (const drain of this.#drains) {
      drain.mayBeDone ||= this.#isEmpty;
      expect(drain.isDone).toBe(drain.mayBeDone);
    }
  }

  get #itemsUnderWay(): Item[] {
    return this.underWay.flatMap(({ items }) => items);
  }
}

describe("a batcher", () => {
  it("keeps its limits, lets nothing wait that could go, and is drained exactly when it is empty", async () => {
    const property = fc.asyncProperty(
      anyLimits,
      fc.array(anyStep, { maxLength: 60, size: "max" }),
      async (limits, steps) => {
        const model = new Model(limits);
        for (const step of steps) await model.take(step);
        while (model.underWay.length > 0) await model.take({ do: "finish", which: 0 });
        model.checkEnd();
      },
    );
    await fc.assert(property, { numRuns: 250 });
  });
});
