/**
 * Way to read a key. `together`: with any others. `few`: with a few others whose rows may also be faulty. `alone`: by a
 * separate statement. `patient`: the same, for rows that need much time. `large`: for large values.
 */
export type Lane = "together" | "few" | "alone" | "patient" | "large";

interface LaneLimits {
  readonly maxItems: number;
  readonly inFlight: number;
}

export const lanes: Readonly<Record<Lane, LaneLimits>> = {
  // Large enough that 100 000 open waits are read again by 100 statements.
  together: { maxItems: 1_000, inFlight: 2 },
  few: { maxItems: 32, inFlight: 2 },
  alone: { maxItems: 1, inFlight: 4 },
  patient: { maxItems: 1, inFlight: 1 },
  // One at a time: over a slow link, many large values arrive one by one instead of timing out together.
  large: { maxItems: 1, inFlight: 1 },
};

/**
 * Shortest time limit on the server for rows of a read that was too slow. Doubles each time a single row is too slow.
 */
const shortestLimitMs = 250;
/** Time for which a key is read separately after it has failed. */
const keptMs = 60_000;
/** Failures of a key after which it is left to the sweeps. */
const maxUrgentFailures = 10;

interface Entry {
  readonly lane: Lane;
  /** Time limit on the server for the row; undefined if it was not slow. */
  readonly limitMs: number | undefined;
  readonly failures: number;
  /** On the clock of `performance.now()`. */
  readonly failedAt: number;
}

/**
 * Remembers keys whose rows may have made a read of many keys too slow, or made the server refuse it. A policy or a
 * view of the application can cause either with a single row. Other keys are read without them, and keys that turn out
 * to be fine rejoin the others.
 */
export class Quarantine {
  readonly #longestLimitMs: number;
  readonly #entries = new Map<string, Entry>();

  constructor(longestLimitMs: number) {
    this.#longestLimitMs = longestLimitMs;
  }

  laneOf(key: string): Lane {
    // Usually empty, and checked for every key that is read.
    if (this.#entries.size === 0) return "together";
    return this.#at(key)?.lane ?? "together";
  }

  /** Returns the time limit on the server for these keys; undefined if they were not slow. */
  limitOf(keys: readonly string[]): number | undefined {
    if (this.#entries.size === 0) return undefined;
    const limits = keys.flatMap((key) => this.#at(key)?.limitMs ?? []);
    return limits.length === 0 ? undefined : Math.max(...limits);
  }

  /**
   * Moves keys to a lane with fewer keys per statement than the one in which they failed. Returns false if there is
   * none.
   */
  separate(keys: readonly string[], lane: Lane, isSlow: boolean): boolean {
    const [only] = keys;
    if (only !== undefined && keys.length === 1) return isSlow && this.#giveMoreTime(only, lane);
    if (lane === "together") this.#forgetOld();
    const nextLane = keys.length > lanes.few.maxItems ? "few" : "alone";
    for (const key of keys) {
      const limitMs = this.#at(key)?.limitMs ?? Math.min(shortestLimitMs, this.#longestLimitMs);
      this.#put(key, nextLane, isSlow ? limitMs : this.#at(key)?.limitMs);
    }
    return true;
  }

  /**
   * Moves keys of large values to a lane that reads them one by one, with care if conversions of large values were too
   * slow.
   */
  addLarge(keys: readonly string[], isCareful: boolean): void {
    for (const key of keys) this.#put(key, "large", isCareful ? this.#longestLimitMs : undefined);
  }

  /** Notes that a key could finally not be read. Returns true if the next sweep should come early. */
  fail(key: string): boolean {
    const present = this.#at(key);
    if (present === undefined) return true;
    const failures = present.failures + 1;
    this.#entries.set(key, { ...present, failures, failedAt: performance.now() });
    return failures <= maxUrgentFailures;
  }

  /** Lets keys that could be read rejoin the others, except one that needed much time. */
  release(keys: readonly string[]): void {
    if (this.#entries.size === 0) return;
    for (const key of keys) {
      if (this.#entries.get(key)?.lane !== "patient") this.#entries.delete(key);
    }
  }

  /** Lets keys rejoin the others after a failure that was not caused by their rows. */
  forget(keys: readonly string[]): void {
    for (const key of keys) this.#entries.delete(key);
  }

  #giveMoreTime(key: string, lane: Lane): boolean {
    const limitMs = this.#at(key)?.limitMs ?? shortestLimitMs / 2;
    if (limitMs >= this.#longestLimitMs) return false;
    // A read that had no limit has taken longer than the shortest ones.
    const hadNoLimit = lane === "together" || lane === "large";
    this.#put(key, "patient", hadNoLimit ? this.#longestLimitMs : Math.min(2 * limitMs, this.#longestLimitMs));
    return true;
  }

  #put(key: string, lane: Lane, limitMs: number | undefined): void {
    const failures = this.#entries.get(key)?.failures ?? 0;
    this.#entries.set(key, { lane, limitMs, failures, failedAt: performance.now() });
  }

  #forgetOld(): void {
    for (const key of [...this.#entries.keys()]) this.#at(key);
  }

  #at(key: string): Entry | undefined {
    const present = this.#entries.get(key);
    if (present === undefined || performance.now() - present.failedAt < keptMs) return present;
    this.#entries.delete(key);
    return undefined;
  }
}
