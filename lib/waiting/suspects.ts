/**
 * Where a key is read. `together`: with any others. `few`: with a few others that may be at fault as well. `alone`: by a statement of its own. `refused`: the same,
 * where the server answers at once. `patient`: one statement at a time, for as long as any read may take.
 */
export type Lane = "together" | "few" | "alone" | "refused" | "patient";

export interface LaneLimits {
  readonly maxItems: number;
  readonly inFlight: number;
}

/** From the usual lane to the one that keeps a key away from the others. */
export const lanes: Readonly<Record<Lane, LaneLimits>> = {
  // A wake-up has few ids, a re-read of everything many: large enough that 100 000 open waits are re-read in 100 statements.
  together: { maxItems: 1_000, inFlight: 2 },
  few: { maxItems: 32, inFlight: 2 },
  alone: { maxItems: 1, inFlight: 4 },
  // Many: over a slow link each takes a round trip, and no more.
  refused: { maxItems: 1, inFlight: 8 },
  patient: { maxItems: 1, inFlight: 1 },
};

const ranks: Readonly<Record<Lane, number>> = { together: 0, few: 1, alone: 2, refused: 2, patient: 3 };

/** Shortest time that the server is given for a part of a read that took too long. A row that needs longer is given twice as long the next time. */
const shortestLimitMs = 250;
/** How much longer than a statement that meets no row. */
const limitPerProbe = 10;
/** From here on a key is read in the lane for patience. */
const patientMs = 1_000;
/** How long a key is kept apart after it has failed. */
const keptMs = 60_000;
/** So many keys in a row that are slow alone are no exceptions: reads of single keys pause. */
const maxSlowInARow = 12;
const shortestPauseMs = 5_000;
const longestPauseMs = 30_000;
/** Failures of a key after which it is left to the sweeps. */
const maxHurriedFailures = 10;

interface Suspicion {
  readonly lane: Lane;
  /** How long the server may take over it; undefined if it was refused, and not slow. */
  readonly limitMs: number | undefined;
  /** Times that it has failed alone. */
  readonly failures: number;
  /** On the clock of `performance.now()`. */
  readonly failedAt: number;
}

/**
 * Remembers keys whose rows may be at fault when a read of many is too slow, or is refused: a policy or a view of the application's can do either for one row. Reads of other keys go
 * on without them, and those that turn out to be innocent go back to the others.
 */
export class Suspects {
  readonly #longestLimitMs: number;
  readonly #keys = new Map<string, Suspicion>();
  #slowInARow = 0;
  #pauseMs = shortestPauseMs;
  #pausedUntil = 0;

  constructor(longestLimitMs: number) {
    this.#longestLimitMs = longestLimitMs;
  }

  laneOf(key: string): Lane {
    // Hardly ever is there anything: this is on the way of each read.
    if (this.#keys.size === 0) return "together";
    return this.#at(key)?.lane ?? "together";
  }

  /** Whether a key is to be read elsewhere than in a lane in which it has been queued. */
  hasLeft(key: string, lane: Lane): boolean {
    return ranks[this.laneOf(key)] > ranks[lane];
  }

  /** How long the server may take over a read of these; undefined if they were not slow. */
  limitOf(keys: readonly string[]): number | undefined {
    const limits = keys.flatMap((key) => this.#at(key)?.limitMs ?? []);
    return limits.length === 0 ? undefined : Math.max(...limits);
  }

  /** Puts keys apart that were read together. `probeMs`: what a statement that meets no row took, if it was too slow; if it was refused, undefined. */
  add(keys: readonly string[], probeMs: number | undefined): void {
    this.#forgetOld();
    const limitMs =
      probeMs === undefined
        ? undefined
        : Math.min(Math.max(shortestLimitMs, limitPerProbe * probeMs), this.#longestLimitMs);
    for (const key of keys) {
      const isSlowAlone = keys.length === 1 && limitMs !== undefined;
      if (isSlowAlone) this.#put(key, "patient", this.#longestLimitMs);
      else if (this.laneOf(key) === "together")
        this.#put(key, keys.length > lanes.few.maxItems ? "few" : laneAlone(limitMs), limitMs);
    }
  }

  /** Puts keys apart whose rows were met in time, but have values that are large, or may be. */
  addLarge(keys: Iterable<string>): void {
    for (const key of keys) this.#put(key, "patient", undefined);
  }

  /** Puts a key further apart. Tells whether that was possible: it may have been given all the time there is. `isSlow`: it was not refused. */
  isolate(key: string, isSlow: boolean): boolean {
    const { lane, limitMs } = this.#at(key) ?? { lane: "together", limitMs: undefined };
    if (lane === "together" || lane === "few") {
      const firstMs = isSlow ? (limitMs ?? shortestLimitMs) : limitMs;
      this.#put(key, laneAlone(firstMs), firstMs);
      return true;
    }
    if (!isSlow) return false;
    if (lane === "alone") this.#noteSlow();
    if (limitMs !== undefined && limitMs >= this.#longestLimitMs) return false;
    const nextMs = Math.min(2 * (limitMs ?? shortestLimitMs / 2), this.#longestLimitMs);
    this.#put(key, nextMs >= patientMs || nextMs >= this.#longestLimitMs ? "patient" : "alone", nextMs);
    return true;
  }

  /** Notes that a key could not be read at last. Tells whether to try it again soon. */
  fail(key: string): boolean {
    const present = this.#at(key);
    if (present === undefined) return true;
    this.#put(key, present.lane, present.limitMs, present.failures + 1);
    return present.failures < maxHurriedFailures;
  }

  /** Notes that keys were read in a lane. One that needed much time stays apart for a while. */
  clear(keys: readonly string[], lane: Lane): void {
    if (this.#keys.size === 0) return;
    if (lane !== "patient") for (const key of keys) this.#keys.delete(key);
    if (lane === "together") return;
    this.#slowInARow = 0;
    this.#pauseMs = shortestPauseMs;
  }

  /** Has keys read with any others again: what happened has nothing to do with them. */
  forget(keys: readonly string[]): void {
    for (const key of keys) this.#keys.delete(key);
  }

  /** How long reads in a lane have to wait, in milliseconds. */
  pauseOf(lane: Lane): number {
    return lane === "few" || lane === "alone" ? Math.max(0, this.#pausedUntil - performance.now()) : 0;
  }

  #noteSlow(): void {
    this.#slowInARow += 1;
    if (this.#slowInARow < maxSlowInARow) return;
    this.#slowInARow = 0;
    this.#pausedUntil = performance.now() + this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, longestPauseMs);
  }

  #put(key: string, lane: Lane, limitMs: number | undefined, failures = this.#keys.get(key)?.failures ?? 0): void {
    this.#keys.set(key, { lane, limitMs, failures, failedAt: performance.now() });
  }

  #at(key: string): Suspicion | undefined {
    const present = this.#keys.get(key);
    if (present === undefined || performance.now() - present.failedAt < keptMs) return present;
    this.#keys.delete(key);
    return undefined;
  }

  #forgetOld(): void {
    for (const key of [...this.#keys.keys()]) this.#at(key);
  }
}

const laneAlone = (limitMs: number | undefined): Lane => (limitMs === undefined ? "refused" : "alone");
