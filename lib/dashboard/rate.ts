/** How many per second, for each of the last so many seconds. */
export class Rate {
  readonly #seconds: number;
  readonly #now: () => number;
  /** The second under way comes last. */
  #counts: number[];
  #latest: number;

  /** @param now - In milliseconds, on any clock that does not go back. */
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

  /** Of the seconds that are over, oldest first. */
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
