import { mayPass } from "../database/backend-error";
import type { FeedHistory, Mark, Snapshot } from "./feed-history";

/** Keys per page. A large number, since each page sorts all rows of a large transaction again. */
const pageRows = 20_000;
/** Most values that are requested at once, so that other reads can run in between. */
const maxRequested = 1_000;
/** Number of emitted values after which a look advances the cursor, even if nothing was missed. */
const minEmittedToLook = 10_000;
/** Drift between two clocks, as a share of the time that passes. */
const largestDrift = 0.0005;

/** Before every mark. */
const firstMark: Mark = { key: "", xid: 0 };

/** A moment in the order of commits. */
export interface Moment {
  readonly snapshot: Snapshot;
  /** The server's time, in microseconds since 1970. */
  readonly serverMicros: number;
}

/** Reads what was written, in the order of transactions. */
export interface CommitReader {
  now(): Promise<Moment>;
  /** Reads a page of what was written since a time, in microseconds since 1970, except rows with a future time. */
  writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]>;
  /** Reads a page of what was committed after one snapshot, and begun before the end of another. */
  committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]>;
}

/** Source in which a {@link CatchUp} looks. */
export interface LookSource {
  readonly commits: CommitReader;
  /** Reads a value that a feed lacks. */
  readForFeed(key: string): void;
  /** A look for missed values has ended. `error`: it failed, and is repeated later. */
  looked(error?: Error): void;
}

/** The feed that a {@link CatchUp} looks for. */
interface LookingFeed {
  wants(key: string): boolean;
  error(error: Error): void;
}

/**
 * `again`: another look follows the running one. `stopped`: the last subscriber has left, and the running look does not
 * concern later subscribers.
 */
type State = "idle" | "looking" | "again" | "stopped";

/**
 * Looks for values that no notification announced: reads what was committed since the cursor of a feed, and then
 * advances the cursor. This works for transactions of any length, and with clocks that are wrong.
 */
export class CatchUp {
  readonly #source: LookSource;
  readonly #feed: LookingFeed;
  readonly #history: FeedHistory;
  /** Values that the look has requested and that have not been read. */
  readonly #requested = new Set<string>();
  #state: State = "idle";
  /** Error of a value that could not be read. */
  #requestError: Error | undefined;
  #resumeLook: (() => void) | undefined;
  #emittedToLook = minEmittedToLook;

  constructor(source: LookSource, feed: LookingFeed, history: FeedHistory) {
    this.#source = source;
    this.#feed = feed;
    this.#history = history;
  }

  isRequested(key: string): boolean {
    return this.#requested.has(key);
  }

  /** Begins a look. Calls during a look lead to a single one after it. */
  look(): void {
    for (const key of this.#history.postponed) this.#source.readForFeed(key);
    if (this.#state === "looking") this.#state = "again";
    if (this.#state !== "idle") return;
    this.#state = "looking";
    this.#emittedToLook = Infinity;
    void this.#look()
      .catch((error: unknown) => this.#fail(error as Error))
      .finally(() => this.#finish());
  }

  /** Begins a look once many values have been emitted since the latest one. */
  lookIfMuchWasEmitted(): void {
    if (this.#state === "idle" && this.#history.size >= this.#emittedToLook) this.look();
  }

  /** Notes that a requested value has been read or no longer exists. `error`: it could not be read. */
  settle(key: string, error?: Error): void {
    if (!this.#requested.delete(key)) return;
    this.#requestError ??= error;
    if (this.#requested.size === 0) this.#resumeLook?.();
  }

  stop(): void {
    this.#state = "stopped";
    this.#requested.clear();
    this.#resumeLook?.();
  }

  async #look(): Promise<void> {
    const { commits } = this.#source;
    const takenAt = performance.now();
    const { snapshot, serverMicros } = await commits.now();
    if (this.#isStopped()) return;
    const from = this.#history.lookFrom;
    const isContinued = from !== undefined && snapshot.xmax >= from.snapshot.xmax;
    if (isContinued) {
      await this.#requestPages(async (after) => commits.committedSince(from.snapshot, snapshot, after, pageRows));
    } else {
      // Without a snapshot of this server, the times of the rows decide. They are compared with a duration measured on
      // the local clock, so the two clocks need not agree.
      const elapsedMs = (performance.now() - (from?.takenAt ?? this.#history.beganAt)) * (1 + largestDrift);
      const since = Math.floor(serverMicros - elapsedMs * 1_000);
      await this.#requestPages(async (after) => commits.writtenSince(since, after, pageRows));
    }
    if (this.#isStopped()) return;
    this.#source.looked();
    this.#history.moveOn({ snapshot, takenAt }, isContinued);
    this.#emittedToLook = Math.max(minEmittedToLook, 2 * this.#history.size);
  }

  async #requestPages(readPage: (after: Mark) => Promise<readonly Mark[]>): Promise<void> {
    let page: readonly Mark[];
    let last = firstMark;
    do {
      page = await readPage(last);
      if (this.#isStopped()) return;
      const isMissing = (mark: Mark): boolean => !this.#history.hasEmitted(mark) && this.#feed.wants(mark.key);
      const keys = page.filter(isMissing).map(({ key }) => key);
      for (let start = 0; start < keys.length && !this.#isStopped(); start += maxRequested)
        await this.#requestAll(keys.slice(start, start + maxRequested));
      last = page.at(-1) ?? last;
    } while (page.length === pageRows && !this.#isStopped());
  }

  /** Resolves once all keys are settled; rejects if one could not be read. */
  async #requestAll(keys: readonly string[]): Promise<void> {
    this.#requestError = undefined;
    for (const key of keys) this.#requested.add(key);
    const error = await new Promise<Error | undefined>((resolve) => {
      this.#resumeLook = () => resolve(this.#requestError);
      for (const key of keys) this.#source.readForFeed(key);
    });
    if (error !== undefined) throw error;
  }

  /** Keeps the cursor, so that the next sweep or connection looks again, however long an outage lasts. */
  #fail(error: Error): void {
    if (this.#isStopped()) return;
    if (mayPass(error)) this.#source.looked(error);
    else this.#feed.error(error);
  }

  #finish(): void {
    const isAgain = this.#state === "again";
    if (!this.#isStopped()) this.#state = "idle";
    if (isAgain) this.look();
  }

  #isStopped(): boolean {
    return this.#state === "stopped";
  }
}
