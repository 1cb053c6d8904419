/** The time that the charts show. */
export const historyMs = 3_600_000;
/** The time that one point of a chart shows. */
const bucketMs = 10_000;
const buckets = historyMs / bucketMs;
/** The rate is an average, because the count of a single second varies too much to be read. */
const rateMs = 10_000;

/** Pairs of times, in milliseconds since 1970, between which not everything is counted. */
export type GapList = readonly (readonly [since: number, until: number])[];

/** The points of a chart, oldest first. */
export interface Series {
  /** The end of the last point, in milliseconds since 1970. */
  readonly until: number;
  readonly results: readonly (number | null)[];
  readonly failures: readonly (number | null)[];
  readonly latencies: readonly (number | null)[];
}

interface Bucket {
  results: number;
  failures: number;
  /** The longest time of a heartbeat; null if none was measured. */
  latencyMs: number | null;
}

/** Counts results and failures by the time they were stored, and keeps measured latencies, for the last hour. */
export class History {
  readonly #buckets = new Map<number, Bucket>();
  readonly #recent: { readonly at: number; readonly count: number }[] = [];
  #now = 0;

  /** Average number of results per second. */
  get perSecond(): number {
    return this.#recent.reduce((sum, { count }) => sum + count, 0) / (rateMs / 1_000);
  }

  /** Counts rows that were stored within the same second. */
  add(second: number, results: number, failures: number): void {
    const bucket = this.#bucket(second * 1_000);
    bucket.results += results;
    bucket.failures += failures;
    this.#recent.push({ at: second * 1_000, count: results });
  }

  addLatency(latencyMs: number): void {
    const bucket = this.#bucket(this.#now);
    bucket.latencyMs = Math.max(bucket.latencyMs ?? 0, Math.round(100 * latencyMs) / 100);
  }

  /** Moves to a later time on the server's clock, and forgets what is older than the charts. */
  moveTo(now: number): void {
    this.#now = now;
    const first = Math.floor((now - historyMs) / bucketMs);
    for (const index of this.#buckets.keys()) if (index < first) this.#buckets.delete(index);
    const kept = this.#recent.filter(({ at }) => at > now - rateMs - 1_000);
    this.#recent.splice(0, Infinity, ...kept);
  }

  /** The points that are over. A point that touches a gap is null: its count is not known. */
  series(gaps: GapList): Series {
    const end = Math.floor(this.#now / bucketMs);
    const indexes = Array.from({ length: buckets }, (_, place) => end - buckets + place);
    const isKnown = (index: number): boolean =>
      gaps.every(([since, until]) => (index + 1) * bucketMs <= since || index * bucketMs >= until);
    const counts = (field: "results" | "failures"): (number | null)[] =>
      indexes.map((index) => (isKnown(index) ? (this.#buckets.get(index)?.[field] ?? 0) : null));
    return {
      until: end * bucketMs,
      results: counts("results"),
      failures: counts("failures"),
      // Up to the present: unlike a count, a measured time is complete.
      latencies: indexes.map((index) => this.#buckets.get(index + 1)?.latencyMs ?? null),
    };
  }

  #bucket(time: number): Bucket {
    const index = Math.floor(time / bucketMs);
    const bucket = this.#buckets.get(index) ?? { results: 0, failures: 0, latencyMs: null };
    this.#buckets.set(index, bucket);
    return bucket;
  }
}
