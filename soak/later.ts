/** Things that are to be done after a while. */
export class Later {
  readonly #timers = new Set<NodeJS.Timeout>();

  /** How many are still to be done. */
  get pending(): number {
    return this.#timers.size;
  }

  in(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }

  cancel(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
