/** Promises that were broken, by which; and in words. */
export const promises = {
  lost: "stored, acknowledged, and not there at the end",
  different: "there, but not what was stored",
  invented: "there, and nobody stored it",
  "wrong answer": "a call that gave what was never stored",
  "wrong error": "a wait or a stream that ended with an error that no fault explains",
  late: "a wait that timed out although its result had long been there",
  overdue: "a call that ended after its limit",
  hung: "a call that never ended",
  group: "a group that was counted wrongly, not done, or done twice",
  feed: "a stream of everything that missed something, or ended",
  worker: "a process that ended, or printed an error",
  close: "a close that took too long, or left a process alive",
  leaked: "a connection that was left behind",
  "the run itself": "something that was to be broken and mended could not be mended",
} as const;

export type BrokenPromise = keyof typeof promises;

/** Of each kind; the others are only counted. */
const mostInWords = 20;

/** What went wrong in a run. Each is printed when it is found, so that a run that does not come to its end has told it. */
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

  /** The first of each kind, in words. */
  get words(): readonly string[] {
    return this.#words;
  }
}
