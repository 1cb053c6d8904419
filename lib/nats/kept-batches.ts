import type { PayloadName } from "../notifications/payload";

/** What was announced together. */
export interface Batch {
  readonly name: PayloadName;
  readonly ids: readonly string[];
  readonly at: number;
  /** Counts up from 1. */
  readonly place: number;
}

/** What may have to be announced again: all that is not confirmed, and for a while what is. Bounded; what falls out is remembered as a gap. */
export class KeptBatches {
  readonly #maxIds: number;
  readonly #keptMs: number;
  #batches: (Batch | undefined)[] = [];
  /** Before this index they are gone; cut off now and then, since to shift a long array costs its length. */
  #first = 0;
  #ids = 0;
  #last = 0;
  #confirmed = 0;
  /** Of the latest that fell out: when it was announced, and its place if it was not confirmed. */
  #gapAt = -Infinity;
  #gapPlace = 0;

  constructor(maxIds: number, keptMs: number) {
    this.#maxIds = maxIds;
    this.#keptMs = keptMs;
  }

  /** Place of the latest batch. */
  get last(): number {
    return this.#last;
  }

  /** Whether something fell out that was not confirmed. */
  get hasLost(): boolean {
    return this.#gapPlace > this.#confirmed;
  }

  /** Up to which place everything is confirmed. */
  get confirmed(): number {
    return this.#confirmed;
  }

  get isConfirmed(): boolean {
    return this.#confirmed === this.#last;
  }

  add(name: PayloadName, ids: readonly string[], at: number): Batch {
    const batch = { name, ids, at, place: (this.#last += 1) };
    this.#batches.push(batch);
    this.#ids += ids.length;
    while (this.#ids > this.#maxIds) {
      const oldest = this.#shift();
      if (oldest === undefined) break;
      this.#gapAt = oldest.at;
      if (oldest.place > this.#confirmed) this.#gapPlace = oldest.place;
    }
    return batch;
  }

  /** Something is to be announced that cannot be named: as if it had fallen out. */
  addGap(at: number): void {
    this.#gapAt = at;
    this.#gapPlace = this.#last += 1;
  }

  /** Everything up to a place was taken by the server, which was known to live at `provenAt`. */
  confirm(place: number, provenAt: number): void {
    this.#confirmed = Math.max(this.#confirmed, place);
    this.forget(provenAt);
  }

  /** Lets go of what was confirmed, and announced long before `provenAt`: a server that dies after that has passed it on. */
  forget(provenAt: number): void {
    for (let oldest = this.#batches[this.#first]; oldest !== undefined; oldest = this.#batches[this.#first]) {
      if (oldest.place > this.#confirmed || oldest.at > provenAt - this.#keptMs) break;
      this.#shift();
    }
  }

  /** A connection is gone that was known to live at `provenAt`: what is kept is not confirmed any more. Tells whether something is missing among it. */
  doubt(provenAt: number): boolean {
    this.forget(provenAt);
    const hasGap = this.hasLost || this.#gapAt > provenAt - this.#keptMs;
    const oldest = this.#batches[this.#first];
    if (oldest !== undefined) this.#confirmed = oldest.place - 1;
    return hasGap;
  }

  /** Forgets everything: nobody is left to announce it. */
  clear(): void {
    this.#batches = [];
    this.#first = 0;
    this.#ids = 0;
    this.#confirmed = this.#last;
  }

  /** The ids that are kept and came after a place, each once. */
  idsOf(name: PayloadName, place = 0): Set<string> {
    const ids = new Set<string>();
    for (let index = this.#first; index < this.#batches.length; index += 1) {
      const batch = this.#batches[index];
      if (batch?.name === name && batch.place > place) for (const id of batch.ids) ids.add(id);
    }
    return ids;
  }

  #shift(): Batch | undefined {
    const oldest = this.#batches[this.#first];
    if (oldest === undefined) return undefined;
    this.#batches[this.#first] = undefined;
    this.#first += 1;
    this.#ids -= oldest.ids.length;
    if (this.#first > 1_000 && this.#first * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#first);
      this.#first = 0;
    }
    return oldest;
  }
}
