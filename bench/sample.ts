/** The measurement of one round. */
export interface Sample {
  /** The p50 for latencies. */
  readonly value: number;
  readonly p95?: number;
  readonly p99?: number;
  /** Processor time per task, in microseconds, of the storing and waiting processes together. */
  readonly clientMicros?: number;
  /** The same of the server. */
  readonly serverMicros?: number;
}

/** Says why this machine cannot measure a row. */
export class NotMeasured extends Error {
  override readonly name = "NotMeasured";
}

/** For an even number of values, the mean of the middle two. */
export function median(values: Iterable<number>): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2;
}

/** The smallest value that at least the given `share` of all values does not exceed. */
export function percentile(values: Iterable<number>, share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}
