/** The latest few of many, newest first, each with a number by which it is known. */
export class Recent<T> {
  readonly #limit: number;
  #entries: readonly (T & { readonly number: number })[] = [];
  #added = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get entries(): readonly (T & { readonly number: number })[] {
    return this.#entries;
  }

  /** How many there have been in all. */
  get added(): number {
    return this.#added;
  }

  add(entry: T): void {
    this.#added += 1;
    this.#entries = [{ ...entry, number: this.#added }, ...this.#entries.slice(0, this.#limit - 1)];
  }
}
