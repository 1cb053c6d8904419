import type { StoreOptions } from "../result-backend";
import { checkTtlMs } from "../value/arguments";

/** One outcome to store. */
export interface StoreRow {
  readonly taskId: string;
  /** JSON text; `null` for a failure. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** null: never expires. */
  readonly ttlMs: number | null;
  readonly keep: boolean;
  /** The span that stores it, as a W3C `traceparent`; only with tracing. */
  readonly traceContext?: string | null;
}

/** A row to store, from what a caller gave; throws a `TypeError` or `RangeError` for options that do not fit. */
export function toStoreRow(
  taskId: string,
  result: string,
  error: string | null,
  options: StoreOptions,
  defaultTtlMs: number,
): StoreRow {
  const { ttlMs = defaultTtlMs, onConflict = "replace" } = options;
  checkTtlMs(ttlMs, "ttlMs");
  if (!["replace", "keep"].includes(onConflict)) {
    throw new TypeError(`onConflict: expected 'replace' or 'keep', got ${JSON.stringify(onConflict)}.`);
  }
  return { taskId, result, error, ttlMs: ttlMs === Infinity ? null : ttlMs, keep: onConflict === "keep" };
}
