import { BackendClosedError } from "../errors";
import type { Database } from "./database";
import { settledWithin } from "./race";

/** A newer sample is read in the background once the latest one is older than this. */
const refreshAfterMs = 60_000;
/** How long a sample that is read in the background may take. */
const refreshTimeoutMs = 5_000;
/** The shortest time between a failure to read a sample in the background and the next attempt. */
const retryAfterMs = 1_000;
/** How far two clocks may drift apart, as a share of the time that passes: ntpd slews a clock by 500 parts per million at most. */
const largestDrift = 0.0005;

/** The server's time in microseconds since 1970. Exact to the microsecond until 2106, when a double of seconds becomes too coarse. */
const clockText = `
  select (pg_catalog.date_part('epoch'::pg_catalog.text, pg_catalog.clock_timestamp())
    operator(pg_catalog.*) '1000000'::double precision)::bigint::pg_catalog.text`;

/** One reading of the server's clock, taken between two local moments on the clock of `performance.now()`. */
interface Sample {
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly serverMicros: number;
}

/**
 * Estimates the time on the server's clock at a local moment, as bounds that the true time lies between. Sends nothing while it is not used. The bounds hold until the server's clock
 * is set, or another server takes over; a part that notices calls {@link ServerClock.invalidate}.
 */
export class ServerClock {
  readonly #database: Pick<Database, "query">;
  readonly #now: () => number;
  #sample: Sample | undefined;
  /** When the latest sample was read, which need not be the one in use. */
  #sampledAt = -Infinity;
  #sampling: Promise<void> | undefined;
  #isClosed = false;

  constructor(database: Pick<Database, "query">, now: () => number = () => performance.now()) {
    this.#database = database;
    this.#now = now;
  }

  /** Whether there is a sample. Without one the bounds are infinite. */
  get isKnown(): boolean {
    return this.#sample !== undefined;
  }

  /** The earliest time that the server's clock can have shown at `localMs`, in microseconds since 1970. */
  lower(localMs: number): number {
    this.#refreshIfOld();
    return this.#sample === undefined ? -Infinity : lowerBound(this.#sample, localMs);
  }

  /** The latest time that the server's clock can have shown at `localMs`, in microseconds since 1970. */
  upper(localMs: number): number {
    this.#refreshIfOld();
    return this.#sample === undefined ? Infinity : upperBound(this.#sample, localMs);
  }

  /** {@link ServerClock.upper} by the present sample, also once that is forgotten. */
  get upperBySample(): (localMs: number) => number {
    const sample = this.#sample;
    return (localMs) => (sample === undefined ? Infinity : upperBound(sample, localMs));
  }

  /**
   * Resolves once there is a sample; rejects if none could be read within `timeoutMs`. Callers share a reading, and one that fails because its own caller had less time is followed
   * by another.
   */
  async ready(timeoutMs: number): Promise<void> {
    const dueAt = this.#now() + timeoutMs;
    while (this.#sample === undefined) {
      const sampling = this.#sampling;
      const remainingMs = Math.max(1, dueAt - this.#now());
      if (sampling === undefined) return this.#read(remainingMs);
      await settledWithin(sampling, remainingMs);
      // A query of its own where the shared one takes longer than this caller has: it rejects in time, with what is wrong.
      if (!this.isKnown && this.#now() >= dueAt) return this.#readOnce(1);
    }
  }

  /** Reads a sample in the background. It takes the place of an earlier one if that has wider bounds, or does not fit the server's clock any more. */
  refresh(): void {
    if (this.#isClosed) return;
    this.#read(refreshTimeoutMs).catch(() => (this.#sampledAt = this.#now() - refreshAfterMs + retryAfterMs));
  }

  /** Forgets the sample, which turned out not to fit the server's clock, or may belong to another server. */
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
    // Not from the call: waiting for a connection of the pool would count as uncertainty.
    const onSend = (): void => void (sentAt = this.#now());
    const query = { purpose: "read the server's clock", text: clockText, values: [], isPrepared: true, onSend };
    const [row] = await this.#database.query<[string]>(query, timeoutMs);
    const answeredAt = this.#now();
    this.#sampledAt = answeredAt;
    const sample = { sentAt, answeredAt, serverMicros: Number(row?.[0]) };
    this.#sample = this.#sample === undefined ? sample : better(this.#sample, sample, answeredAt);
  }
}

function lowerBound({ answeredAt, serverMicros }: Sample, localMs: number): number {
  const elapsedMs = localMs - answeredAt;
  return serverMicros + 1_000 * (elapsedMs - largestDrift * Math.abs(elapsedMs));
}

function upperBound({ sentAt, serverMicros }: Sample, localMs: number): number {
  const elapsedMs = localMs - sentAt;
  return serverMicros + 1_000 * (elapsedMs + largestDrift * Math.abs(elapsedMs));
}

/** Of two samples the one with the closer bounds at `localMs`; the newer one if they contradict each other, since the server's clock has been set in between. */
function better(older: Sample, newer: Sample, localMs: number): Sample {
  const [olderLower, olderUpper] = [lowerBound(older, localMs), upperBound(older, localMs)];
  const [newerLower, newerUpper] = [lowerBound(newer, localMs), upperBound(newer, localMs)];
  if (olderUpper < newerLower || newerUpper < olderLower) return newer;
  return olderUpper - olderLower < newerUpper - newerLower ? older : newer;
}
