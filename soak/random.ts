import { createHash } from "node:crypto";

/** Numbers as if at random, and the same for the same seed. */
export class SeededRandom {
  readonly #seed: string;
  #count = 0;

  /** @param seed - Each purpose takes one of its own, so that what one draws does not depend on how often another has drawn. */
  constructor(seed: string) {
    this.#seed = seed;
  }

  /** From 0 up to, and without, 1. */
  next(): number {
    this.#count += 1;
    return createHash("sha256").update(`${this.#seed} ${this.#count}`).digest().readUIntBE(0, 6) / 2 ** 48;
  }

  /** An integer, both limits included. */
  between(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.between(0, items.length - 1)];
    if (item === undefined) throw new RangeError("items: expected at least one, got none.");
    return item;
  }
}
