/** What a result looks like as it comes from the database, its JSON still text: each of several waiters parses a copy of its own. */
export interface StoredResult {
  readonly taskId: string;
  /** JSON text. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** Database time, in microseconds since 1970; exact until 2106. */
  readonly storedAt: number;
  /** Whether its text is longer than may be read; then it was not. */
  readonly isTooLarge?: boolean;
  /** The transaction that stored it; 0 or absent if it is not known. */
  readonly storedXid?: number;
  /** The span that stored it, as a W3C `traceparent`; only with telemetry, and not of an inline result. */
  readonly traceContext?: string | null;
  /** How long ago it was stored when it was read, in milliseconds of the database's clock; as the above. */
  readonly ageMs?: number;
}
