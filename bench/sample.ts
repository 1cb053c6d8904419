/** The measurement of one round. */
export interface Sample {
  /** The p50 for latencies. */
  readonly value: number;
  readonly p95?: number;
  readonly p99?: number;
}

/** Says why this machine cannot measure a row. */
export class NotMeasured extends Error {
  override readonly name = "NotMeasured";
}
