/** What is measured in one round. */
export interface Sample {
  /** For latencies, their p50. */
  readonly value: number;
  readonly p95?: number;
  readonly p99?: number;
}

/** Why a row is not measured here. */
export class NotMeasured extends Error {
  override readonly name = "NotMeasured";
}
