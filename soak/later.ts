/** Actions to run after a delay. */
export class Later {
  readonly #timers = new Set<NodeJS.Timeout>();

  /** Number of actions still to run. */
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
