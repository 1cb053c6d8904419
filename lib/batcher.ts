/** One thing to be done in a batch, under the key it is about. */
export interface BatchItem {
  readonly key: string;
  /** What it adds to the size of a statement; 0 where only the count matters. */
  readonly bytes: number;
}

export interface BatcherOptions<Item extends BatchItem> {
  /** Most items in one batch. */
  readonly maxItems: number;
  /** Most bytes in one batch; an item larger than that travels alone. */
  readonly maxBytes: number;
  /** Most batches under way at once. */
  readonly inFlight: number;
  /** Whether a key that is under way has to come back before it may be sent again. */
  readonly exclusiveKeys: boolean;
  /** Combines an item with one of the same key that is still queued; the outcome takes its place. */
  readonly merge: (queued: Item, added: Item) => Item;
  /** Carries a batch out and settles its items. Must not reject. */
  readonly run: (items: Item[]) => Promise<void>;
}

/**
 * Collects items while earlier ones are under way, and sends them together. When nothing is under way nothing waits: a batch leaves
 * as soon as the code that is running now has had its say, with all that it added.
 *
 * An item never joins a batch that has been sent: a read that has begun may see an older snapshot than the one that is asked for.
 */
export class Batcher<Item extends BatchItem> {
  readonly #options: BatcherOptions<Item>;
  readonly #queue = new Map<string, Item>();
  readonly #keysInFlight = new Set<string>();
  readonly #drained: (() => void)[] = [];
  #batchesInFlight = 0;
  #scheduled = false;

  constructor(options: BatcherOptions<Item>) {
    this.#options = options;
  }

  /** Items that wait to be sent. */
  get queued(): number {
    return this.#queue.size;
  }

  get inFlight(): number {
    return this.#batchesInFlight;
  }

  add(item: Item): void {
    const queued = this.#queue.get(item.key);
    this.#queue.set(item.key, queued === undefined ? item : this.#options.merge(queued, item));
    this.#schedule();
  }

  /** Resolves once nothing is queued or under way. */
  async drain(): Promise<void> {
    if (this.#queue.size === 0 && this.#batchesInFlight === 0) return;
    await new Promise<void>((resolve) => this.#drained.push(resolve));
  }

  #schedule(): void {
    if (this.#scheduled || this.#batchesInFlight >= this.#options.inFlight) return;
    this.#scheduled = true;
    // A microtask first, then a tick: a tick queued from a microtask comes after all of them. So the lanes that a settled batch has
    // just woken all get their next call into this batch, where a bare microtask would leave with the first one's.
    queueMicrotask(() =>
      process.nextTick(() => {
        this.#scheduled = false;
        this.#send();
      }),
    );
  }

  #send(): void {
    while (this.#batchesInFlight < this.#options.inFlight) {
      const batch = this.#take();
      if (batch.length === 0) break;
      this.#batchesInFlight += 1;
      void this.#options.run(batch).then(() => this.#finish(batch));
    }
  }

  #take(): Item[] {
    const { maxItems, maxBytes, exclusiveKeys } = this.#options;
    const batch: Item[] = [];
    let bytes = 0;
    for (const [key, item] of this.#queue) {
      if (batch.length >= maxItems || (batch.length > 0 && bytes + item.bytes > maxBytes)) break;
      if (exclusiveKeys) {
        if (this.#keysInFlight.has(key)) continue;
        this.#keysInFlight.add(key);
      }
      this.#queue.delete(key);
      batch.push(item);
      bytes += item.bytes;
    }
    return batch;
  }

  #finish(batch: Item[]): void {
    this.#batchesInFlight -= 1;
    if (this.#options.exclusiveKeys) for (const item of batch) this.#keysInFlight.delete(item.key);
    if (this.#queue.size > 0) this.#schedule();
    else if (this.#batchesInFlight === 0) for (const resolve of this.#drained.splice(0)) resolve();
  }
}
