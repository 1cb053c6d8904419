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

type Keys = Pick<ReadonlySet<string>, "has">;

/** To queue a microtask by; `queueMicrotask` of Node makes an object for asynchronous hooks each time. */
const settled = Promise.resolve();

/**
 * Collects items while earlier ones are under way, and sends them together. When nothing is under way nothing waits: a batch leaves
 * as soon as the code that is running now has had its say, with all that it added.
 *
 * An item never joins a batch that has been sent: a read that has begun may see an older snapshot than the one that is asked for.
 */
export class Batcher<Item extends BatchItem> {
  readonly #options: BatcherOptions<Item>;
  #queue = new Map<string, Item>();
  /** The keys of each batch that is under way. */
  readonly #batches = new Set<Keys>();
  readonly #drained: (() => void)[] = [];
  #scheduled = false;

  constructor(options: BatcherOptions<Item>) {
    this.#options = options;
  }

  /** Items that wait to be sent. */
  get queued(): number {
    return this.#queue.size;
  }

  get inFlight(): number {
    return this.#batches.size;
  }

  add(item: Item): void {
    const queued = this.#queue.get(item.key);
    this.#queue.set(item.key, queued === undefined ? item : this.#options.merge(queued, item));
    this.#schedule();
  }

  /** Resolves once nothing is queued or under way. */
  async drain(): Promise<void> {
    if (this.#queue.size === 0 && this.#batches.size === 0) return;
    await new Promise<void>((resolve) => this.#drained.push(resolve));
  }

  #schedule(): void {
    if (this.#scheduled || this.#batches.size >= this.#options.inFlight) return;
    this.#scheduled = true;
    // A microtask first, then a tick: a tick queued from a microtask comes after all of them. So the lanes that a settled batch has
    // just woken all get their next call into this batch, where a bare microtask would leave with the first one's.
    void settled.then(this.#sendNextTick);
  }

  readonly #sendNextTick = (): void => process.nextTick(this.#sendScheduled);

  readonly #sendScheduled = (): void => {
    this.#scheduled = false;
    this.#send();
  };

  #send(): void {
    while (this.#batches.size < this.#options.inFlight) {
      const [batch, keys] = this.#take();
      if (batch.length === 0) break;
      this.#batches.add(keys);
      void this.#options.run(batch).then(() => this.#finish(keys));
    }
  }

  #take(): [batch: Item[], keys: Keys] {
    const { maxItems, maxBytes, exclusiveKeys } = this.#options;
    const queue = this.#queue;
    const batch: Item[] = [];
    let bytes = 0;
    for (const [key, item] of queue) {
      if (batch.length >= maxItems || (batch.length > 0 && bytes + item.bytes > maxBytes)) break;
      if (exclusiveKeys && this.#isInFlight(key)) continue;
      batch.push(item);
      bytes += item.bytes;
    }
    if (batch.length === queue.size) {
      // Not emptied: a map that is filled and emptied again and again leaves old tables behind, which keep what was in them until the next full collection. To move
      // that about took a quarter of a storing process's time (7.8 against 5.9 µs for a result).
      this.#queue = new Map();
      return [batch, queue];
    }
    for (const { key } of batch) queue.delete(key);
    return [batch, new Set(batch.map(({ key }) => key))];
  }

  #isInFlight(key: string): boolean {
    for (const keys of this.#batches) if (keys.has(key)) return true;
    return false;
  }

  #finish(keys: Keys): void {
    this.#batches.delete(keys);
    if (this.#queue.size > 0) this.#schedule();
    else if (this.#batches.size === 0) for (const resolve of this.#drained.splice(0)) resolve();
  }
}
