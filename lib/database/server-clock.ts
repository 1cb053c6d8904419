import { BackendClosedError } from "../errors";
import type { Database } from "./database";
import { settledWithin } from "./race";

/** Age of the latest sample from which a newer one is read in the background. */
const refreshAfterMs = 60_000;
/** Longest time for a sample that is read in the background. */
const refreshTimeoutMs = 5_000;
/** Shortest time between a failure to read a sample in the background and the next attempt. */
const retryAfterMs = 1_000;
/**
 * Drift between two clocks, as a share of the time that passes: ntpd slews a clock by at most 500 parts per million.
 */
const largestDrift = 0.0005;

/**
 * Reads the server's time in microseconds since 1970, exact until 2106, when a double of seconds becomes too coarse.
 */
const clockText = `
  select (pg_catalog.date_part('epoch'::pg_catalog.text, pg_catalog.clock_timestamp())
    operator(pg_catalog.*) '1000000'::double precision)::bigint::pg_catalog.text`;

/** A reading of the server's clock, taken between two local moments on the clock of `performance.now()`. */
interface Sample {
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly serverMicros: number;
}

/**
 * Estimates the time on the server's clock at a local moment, as a lower and an upper bound. Sends nothing while it is
 * not used. The bounds hold until the server's clock is set or another server takes over. Code that detects this calls
 * {@link ServerClock.invalidate}.
 */
export class ServerClock {
  readonly #database: Pick<Database, "query">;
  readonly #now: () => number;
  #sample: Sample | undefined;
  /** Time of the latest reading, which need not be the sample in use. */
  #sampledAt = -Infinity;
  #sampling: Promise<void> | undefined;
  #isClosed = false;

  constructor(database: Pick<Database, "query">, now: () => number = () => performance.now()) {
    this.#database = database;
    this.#now = now;
  }

  /** There is a sample. Without one the bounds are infinite. */
  get isKnown(): boolean {
    return this.#sample !== undefined;
  }

  /** Returns the earliest time that the server's clock can have shown at `localMs`, in microseconds since 1970. */
  lower(localMs: number): number {
    this.#refreshIfOld();
    return this.#sample === undefined ? -Infinity : lowerBound(this.#sample, localMs);
  }

  /** Returns the latest time that the server's clock can have shown at `localMs`, in microseconds since 1970. */
  upper(localMs: number): number {
    this.#refreshIfOld();
    return this.#sample === undefined ? Infinity : upperBound(this.#sample, localMs);
  }

  /** Returns {@link ServerClock.upper} for the current sample, even after the sample is forgotten. */
  get upperBySample(): (localMs: number) => number {
    const sample = this.#sample;
    return (localMs) => (sample === undefined ? Infinity : upperBound(sample, localMs));
  }

  /** Resolves once there is a sample; rejects if none could be read within `timeoutMs`. Callers share a reading. */
  async ready(timeoutMs: number): Promise<void> {
    const dueAt = this.#now() + timeoutMs;
    while (this.#sample === undefined) {
      const sampling = this.#sampling;
      const remainingMs = Math.max(1, dueAt - this.#now());
      if (sampling === undefined) return this.#read(remainingMs);
      // It fails early if its own caller has less time.
      await settledWithin(sampling, remainingMs);
      // If the shared reading takes longer than this caller has, a separate one rejects in time, with the reason.
      if (!this.isKnown && this.#now() >= dueAt) return this.#readOnce(1);
    }
  }

  /** Reads a sample in the background. It replaces one that has wider bounds, or no longer fits the server's clock. */
  refresh(): void {
    if (this.#isClosed) return;
    this.#read(refreshTimeoutMs).catch(() => (this.#sampledAt = this.#now() - refreshAfterMs + retryAfterMs));
  }

  /** Forgets the sample, which no longer fits the server's clock or may belong to another server. */
  invalidate(): void {
    this.#sample = undefined;
    this.#sampledAt = -Infinity;
  }

  /** Reads no more samples. */
  close(): void {
    this.#isClosed = true;
  }

  #refreshIfOld(): void {
    if (this.#isClosed || this.#sampling !== undefined) return;
    if (this.#now() - this.#sampledAt >= refreshAfterMs) this.refresh();
  }

  #read(timeoutMs: number): Promise<void> {
    this.#sampling ??= this.#readOnce(timeoutMs).finally(() => (this.#sampling = undefined));
    return this.#sampling;
  }

  async #readOnce(timeoutMs: number): Promise<void> {
    if (this.#isClosed) throw new BackendClosedError();
    let sentAt = this.#now();
    // Measured from the send and not from the call, since waiting for a connection would widen the bounds.
    const whenSent = (): undefined => void (sentAt = this.#now());
    const query = { purpose: "read the server's clock", text: clockText, values: [], isPrepared: true, whenSent };
    const [row] = await this.#database.query<[string]>(query, timeoutMs);
    const answeredAt = this.#now();
    this.#sampledAt = answeredAt;
    const sample = { sentAt, answeredAt, serverMicros: Number(row?.[0]) };
    this.#sample = this.#sample === undefined ? sample : better(this.#sample, sample, answeredAt);
  }
}

const lowerBound = ({ answeredAt, serverMicros }: Sample, localMs: number): number =>
  serverMicros + 1_000 * (localMs - answeredAt - largestDrift * Math.abs(localMs - answeredAt));

const upperBound = ({ sentAt, serverMicros }: Sample, localMs: number): number =>
  serverMicros + 1_000 * (localMs - sentAt + largestDrift * Math.abs(localMs - sentAt));

/**
 * Returns the sample with the closer bounds at `localMs`. If the two contradict each other, the server's clock was set,
 * and the newer one counts.
 */
function better(older: Sample, newer: Sample, localMs: number): Sample {
  const [olderLower, olderUpper] = [lowerBound(older, localMs), upperBound(older, localMs)];
  const [newerLower, newerUpper] = [lowerBound(newer, localMs), upperBound(newer, localMs)];
  if (olderUpper < newerLower || newerUpper < olderLower) return newer;
  return olderUpper - olderLower < newerUpper - newerLower ? older : newer;
}
