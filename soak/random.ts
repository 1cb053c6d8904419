import { createHash } from "node:crypto";

/** A pseudo-random generator: the same seed gives the same numbers. */
export class SeededRandom {
  readonly #seed: string;
  #count = 0;

  /** @param seed - One per purpose, so that one purpose's draws do not depend on how often another draws. */
  constructor(seed: string) {
    this.#seed = seed;
  }

  /** A number from 0 up to, but not including, 1. */
  next(): number {
    this.#count += 1;
    return createHash("sha256").update(`${this.#seed} ${this.#count}`).digest().readUIntBE(0, 6) / 2 ** 48;
  }

  /** An integer from `min` to `max`, both included. */
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
