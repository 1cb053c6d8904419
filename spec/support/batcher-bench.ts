import { setImmediate as turn } from "node:timers/promises";
import { type BatcherOptions, type BatchItem, Batcher } from "../../lib/waiting/batcher";

/** The values added under one key. Merged items have several. */
export interface Item extends BatchItem {
  readonly values: readonly number[];
}

export const item = (key: string, value = 0, bytes = 1): Item => ({ key, bytes, values: [value] });
export const keysOf = (items: readonly Item[]): string[] => items.map(({ key }) => key);

/** A batcher whose batches stay in flight until they are told to finish. */
export class Bench {
  readonly batches: Item[][] = [];
  readonly batcher: Batcher<Item>;
  readonly #finish: (() => void)[] = [];

  constructor(options: Partial<BatcherOptions<Item>> = {}) {
    this.batcher = new Batcher<Item>({
      maxItems: 100,
      maxBytes: Infinity,
      inFlight: 1,
      exclusiveKeys: false,
      merge: (queued, added) => ({ ...added, values: [...queued.values, ...added.values] }),
      run: (items) => {
        this.batches.push(items);
        return new Promise((resolve) => this.#finish.push(resolve));
      },
      ...options,
    });
  }

  get keys(): string[][] {
    return this.batches.map(keysOf);
  }

  add(...items: Item[]): void {
    for (const each of items) this.batcher.add(each);
  }

  /** Ends the oldest batch in flight, which lets the next one leave. */
  async finish(index = 0): Promise<void> {
    this.#finish.splice(index, 1)[0]?.();
    await turn();
  }
}

export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.finally(() => (settled = true));
  await turn();
  return settled;
}
