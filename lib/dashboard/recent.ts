/** The latest entries, newest first, numbered from 1. */
export class RecentEntries<T> {
  readonly #limit: number;
  #entries: readonly (T & { readonly number: number })[] = [];
  #added = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get entries(): readonly (T & { readonly number: number })[] {
    return this.#entries;
  }

  /** The number of all entries so far. */
  get added(): number {
    return this.#added;
  }

  add(entry: T): void {
    this.#added += 1;
    this.#entries = [{ ...entry, number: this.#added }, ...this.#entries.slice(0, this.#limit - 1)];
  }
}

/** Counts events in each of the last seconds. */
export class RecentCounts {
  readonly #seconds: number;
  readonly #now: () => number;
  /** The current second comes last. */
  #counts: number[];
  #latest: number;

  /** @param now - Milliseconds on a clock that never goes back. */
  constructor(seconds: number, now: () => number = () => performance.now()) {
    this.#seconds = seconds;
    this.#now = now;
    this.#counts = new Array<number>(seconds + 1).fill(0);
    this.#latest = Math.floor(now() / 1_000);
  }

  add(): void {
    this.#advance();
    this.#counts[this.#seconds] = (this.#counts[this.#seconds] ?? 0) + 1;
  }

  /** The counts of the seconds that are over, oldest first. */
  history(): readonly number[] {
    this.#advance();
    return this.#counts.slice(0, this.#seconds);
  }

  #advance(): void {
    const second = Math.floor(this.#now() / 1_000);
    const passed = Math.min(second - this.#latest, this.#seconds + 1);
    this.#latest = second;
    if (passed > 0) this.#counts = [...this.#counts.slice(passed), ...new Array<number>(passed).fill(0)];
  }
}
