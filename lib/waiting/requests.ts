/** The values that a look has asked for, until each has been read, is known to be gone, or could not be read. */
export class Requests {
  readonly #request: (key: string) => void;
  readonly #open = new Set<string>();
  readonly #errors: Error[] = [];
  #done: (() => void) | undefined;

  constructor(request: (key: string) => void) {
    this.#request = request;
  }

  has(key: string): boolean {
    return this.#open.has(key);
  }

  /** Resolves once all keys are settled; rejects if one could not be read. One call at a time. */
  async ask(keys: readonly string[]): Promise<void> {
    this.#errors.length = 0;
    for (const key of keys) this.#open.add(key);
    const done = new Promise<void>((resolve) => (this.#done = resolve));
    for (const key of keys) this.#request(key);
    this.#finishIfEmpty();
    await done;
    const [error] = this.#errors;
    if (error !== undefined) throw error;
  }

  settle(key: string): void {
    if (this.#open.delete(key)) this.#finishIfEmpty();
  }

  fail(key: string, error: Error): void {
    if (!this.#open.has(key)) return;
    this.#errors.push(error);
    this.settle(key);
  }

  /** Ends the call that is under way. */
  cancel(): void {
    this.#open.clear();
    this.#finishIfEmpty();
  }

  #finishIfEmpty(): void {
    if (this.#open.size > 0) return;
    this.#done?.();
    this.#done = undefined;
  }
}
