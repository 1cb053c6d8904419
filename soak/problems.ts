/** The promises, each with its name in a report. */
export const promises = {
  lost: "acknowledged, but missing at the end",
  different: "present, but not the stored value",
  invented: "present, but never stored",
  "wrong answer": "a call that returned a value that was never stored",
  "wrong error": "a wait or a stream that ended with an error that no fault explains",
  late: "a wait that timed out although its result had long been stored",
  overdue: "a call that ended after its limit",
  hung: "a call that never ended",
  group: "a group with a wrong count, that did not complete, or completed twice",
  feed: "a stream that missed an item, or ended",
  worker: "a process that ended, or printed an error",
  close: "a close that took too long, or left a process alive",
  leaked: "a leaked connection",
  "the run itself": "a fault that could not be repaired",
} as const;

export type BrokenPromise = keyof typeof promises;

/** Problems of each kind that are printed. The rest are only counted. */
const mostInWords = 20;

/**
 * Collects the problems of a run. Each is printed as it is found, so that a run that does not finish has still reported
 * it.
 */
export class Problems {
  readonly #startedAt = performance.now();
  readonly #counts = new Map<BrokenPromise, number>();
  readonly #words: string[] = [];

  add(promise: BrokenPromise, words: string): void {
    this.#counts.set(promise, this.count(promise) + 1);
    if (this.count(promise) > mostInWords) return;
    this.#words.push(`${promise}: ${words}`);
    const elapsed = `${Math.round((performance.now() - this.#startedAt) / 1_000)} s`;
    console.error(`${elapsed.padStart(6)}: ${promise}: ${words}`);
  }

  count(promise: BrokenPromise): number {
    return this.#counts.get(promise) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** The first problems of each kind. */
  get words(): readonly string[] {
    return this.#words;
  }
}
