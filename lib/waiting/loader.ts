import { isRowRefusal, mayPass } from "../database/backend-error";
import { isTransient } from "../database/retry";
import { BackendClosedError, DatabaseError } from "../errors";
import { Batcher, type BatchItem } from "./batcher";
import { Call, type Deadlines } from "./deadlines";
import { type Lane, lanes, Quarantine } from "./quarantine";
import {
  type Found,
  type ReadAnswer,
  ReadAttempts,
  type ReadKeys,
  type ReadLimits,
  SlowRowsError,
} from "./read-attempts";
import type { WakeCause } from "./router";

/** Reason for the read of a key, combined from all the requests that it answers. */
export interface ReadReason {
  /** `notification` if any of the requests came from one, else the cause of the first. */
  readonly cause: WakeCause;
  /** Set if any of the requests came from a notification that announces a new value. */
  readonly isAnnounced: boolean;
  /**
   * When the read began, on the clock of `performance.now()`. A watcher that began later does not get the value,
   * which may have been replaced or deleted meanwhile. It has requested another read.
   */
  readonly begunAt: number;
  /** Set if a read that began later has already found the key, so that this value may be older. */
  readonly isOvertaken: boolean;
}

/** Receives what the reads of a {@link Loader} found. */
export interface LoadReceiver<T> {
  readonly read: ReadKeys<T>;
  /** Called before the calls for the key are answered. Not called for an overtaken value unless it was announced. */
  found(key: string, found: Found<T>, reason: ReadReason): void;
  absent(key: string): void;
  /** The read failed permanently. `isRowFault`: the rows of these keys are the cause, and others can be read. */
  denied(keys: readonly string[], error: Error, isRowFault: boolean): void;
  /** The read failed and is not retried here, but may succeed later. `isUrgent`: the keys have not failed often. */
  givenUp(keys: readonly string[], error: DatabaseError, isUrgent: boolean): void;
  /** A statement succeeded after one that failed. */
  recovered(): void;
}

export interface LoaderLimits extends ReadLimits {
  readonly deadlines: Deadlines;
}

/** Counters of reads since the backend was created. */
export interface ReadCounters {
  readonly statements: number;
  readonly retries: number;
  /** Ids that wait for a statement. */
  readonly queued: number;
  /** Statements in flight. */
  readonly inFlight: number;
}

interface Item<T> extends BatchItem {
  cause: WakeCause;
  isAnnounced: boolean;
  /** Set if the key is read for its watchers, and not only for calls. */
  isWatched: boolean;
  readonly calls: Call<T | undefined>[];
}

/**
 * Reads what is stored under keys, many in one statement. A key that is requested during a read of it is read once
 * more, since that read may have begun before the commit in question. Rows that make a read slow, or make the server
 * refuse it, are read separately.
 */
export class Loader<T> {
  readonly #receiver: LoadReceiver<T>;
  readonly #limits: LoaderLimits;
  readonly #attempts: ReadAttempts<T>;
  readonly #quarantine: Quarantine;
  readonly #batchers: Readonly<Record<Lane, Batcher<Item<T>>>>;
  readonly #order = new ReadOrder();

  constructor(receiver: LoadReceiver<T>, limits: LoaderLimits) {
    this.#receiver = receiver;
    this.#limits = limits;
    this.#attempts = new ReadAttempts<T>((...read) => receiver.read(...read), limits);
    this.#quarantine = new Quarantine(this.#attempts.longestAttemptMs);
    this.#batchers = {
      together: this.#createBatcher("together"),
      few: this.#createBatcher("few"),
      alone: this.#createBatcher("alone"),
      patient: this.#createBatcher("patient"),
      large: this.#createBatcher("large"),
    };
  }

  get counters(): ReadCounters {
    let [queued, inFlight] = [0, 0];
    for (const batcher of Object.values(this.#batchers)) {
      queued += batcher.queued;
      inFlight += batcher.inFlight;
    }
    const { statements, retries } = this.#attempts;
    return { statements, retries, queued, inFlight };
  }

  /** Error of the latest read; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#attempts.lastError;
  }

  /** Reads a key for its watchers. */
  request(key: string, cause: WakeCause, isAnnounced = false): void {
    this.#add({ key, bytes: 0, cause, isAnnounced, isWatched: true, calls: [] });
  }

  /**
   * Reads a key for a caller. Resolves with `undefined` if nothing is stored. Rejects after `retryTimeoutMs` at the
   * latest.
   */
  async load(key: string, cause: WakeCause): Promise<T | undefined> {
    const { deadlines, retryTimeoutMs } = this.#limits;
    const late = (): Error =>
      new DatabaseError(`Could not read results: no answer within ${retryTimeoutMs} ms.`, undefined, true, {
        cause: this.lastError,
      });
    const call = new Call<T | undefined>(deadlines, retryTimeoutMs, late);
    this.#add({ key, bytes: 0, cause, isAnnounced: false, isWatched: false, calls: [call] });
    return call.promise;
  }

  async drain(): Promise<void> {
    await Promise.all(Object.values(this.#batchers).map(async (batcher) => batcher.drain()));
  }

  #createBatcher(lane: Lane): Batcher<Item<T>> {
    return new Batcher<Item<T>>({
      ...lanes[lane],
      maxBytes: Infinity,
      exclusiveKeys: false,
      merge,
      run: async (items) => {
        const read = { place: 0, begunAt: 0 };
        await this.#run(items, read, lane);
        this.#order.end(read);
      },
    });
  }

  #add(item: Item<T>): void {
    this.#batchers[this.#quarantine.laneOf(item.key)].add(item);
  }

  /** Reads keys in one statement. If a row makes it fail, the keys are split until only that row is affected. */
  async #run(queued: readonly Item<T>[], read: RunningRead, lane: Lane): Promise<void> {
    const items = this.#stayingIn(lane, queued.filter(isWanted));
    if (items.length === 0) return;
    const keys = items.map(({ key }) => key);
    const onAttempt = (): void => {
      this.#order.begin(read);
      read.begunAt = this.#limits.deadlines.now();
    };
    try {
      const limitMs = this.#quarantine.limitOf(keys);
      const answer = await (limitMs === undefined
        ? this.#attempts.read(keys, onAttempt)
        : this.#attempts.readLimited(keys, limitMs, onAttempt));
      if (this.lastError !== undefined) this.#receiver.recovered();
      this.#attempts.noteSuccess();
      this.#quarantine.release(keys);
      this.#answer(items, answer, read);
    } catch (error) {
      if (this.#separate(keys, error, lane)) for (const item of items) this.#add(item);
      else this.#fail(items, error as Error);
    }
  }

  /** Returns the items that still belong to a lane, and moves those whose lane has changed while they were queued. */
  #stayingIn(lane: Lane, items: readonly Item<T>[]): readonly Item<T>[] {
    const leaving = new Set(items.filter(({ key }) => this.#quarantine.laneOf(key) !== lane));
    for (const item of leaving) this.#add(item);
    return leaving.size === 0 ? items : items.filter((item) => !leaving.has(item));
  }

  #answer(items: readonly Item<T>[], { found, unsent = [], large = [] }: ReadAnswer<T>, read: RunningRead): void {
    this.#quarantine.addLarge(large, this.#attempts.isCareful);
    const left = new Set([...unsent, ...large]);
    for (const item of items) {
      const { key, cause, isAnnounced, calls } = item;
      if (left.has(key)) {
        this.#add(item);
        continue;
      }
      const row = found.get(key);
      if (row === undefined) this.#receiver.absent(key);
      else {
        // A read can return after one that began later, and then has an older snapshot: a group would seem to go back.
        // Only calls still get the value.
        const isOvertaken = this.#order.isOvertaken(read, key);
        if (!isOvertaken || isAnnounced)
          this.#receiver.found(key, row, { cause, isAnnounced, begunAt: read.begunAt, isOvertaken });
      }
      for (const call of calls) call.resolve(row?.value);
    }
  }

  /** Moves keys whose read failed to another lane. Returns false if that cannot help. */
  #separate(keys: readonly string[], error: unknown, lane: Lane): boolean {
    const isSlow = error instanceof SlowRowsError;
    if (isSlow || isRowRefusal(error)) return this.#quarantine.separate(keys, lane, isSlow);
    if (lane === "together" || !isTransient(error)) return false;
    this.#quarantine.forget(keys);
    return true;
  }

  #fail(items: readonly Item<T>[], thrown: Error): void {
    const error = thrown instanceof SlowRowsError ? thrown.cause : thrown;
    if (isTransient(error)) this.#attempts.noteFailure(error);
    for (const { calls } of items) for (const call of calls) call.reject(error);
    if (error instanceof BackendClosedError) return;
    const keys = items.map(({ key }) => key);
    if (mayPass(error)) {
      const urgent = keys.filter((key) => this.#quarantine.fail(key));
      this.#receiver.givenUp(keys, error, urgent.length > 0);
    } else this.#receiver.denied(keys, error, isRowRefusal(error));
  }
}

/** Returns false once nothing watches the key and all calls for it have been settled. */
function isWanted<T>({ isWatched, calls }: Item<T>): boolean {
  return isWatched || calls.some(({ isSettled }) => !isSettled);
}

/**
 * Merges an item into a queued one of the same key. A notification takes precedence over other causes: streams must
 * emit what it announces, and the sweep must not count it as missed. Changes the queued item in place, since copying
 * the calls each time took a minute for 40 000 of them.
 */
function merge<T>(queued: Item<T>, added: Item<T>): Item<T> {
  if (added.cause === "notification") queued.cause = added.cause;
  queued.isWatched ||= added.isWatched;
  queued.isAnnounced ||= added.isAnnounced;
  for (const call of added.calls) queued.calls.push(call);
  return queued;
}

/** A read under way. */
interface RunningRead {
  /** Place among all reads, in the order in which their latest attempts began; 0 before the first. */
  place: number;
  /** When the latest attempt began. */
  begunAt: number;
}

/** Determines which of several reads of a key began last. Remembers keys only while an older read is running. */
class ReadOrder {
  /** Places of the running reads, in their order. */
  readonly #underWay = new Set<number>();
  /** By key, the latest read that found it. */
  readonly #foundBy = new Map<string, number>();
  #begun = 0;

  /** Records an attempt of a read: it will see what is stored now. */
  begin(read: RunningRead): void {
    this.#underWay.delete(read.place);
    this.#begun += 1;
    read.place = this.#begun;
    this.#underWay.add(read.place);
  }

  /** Records that a read found a key. Returns true if a read that began later has already found it. */
  isOvertaken({ place }: RunningRead, key: string): boolean {
    if ((this.#foundBy.get(key) ?? 0) > place) return true;
    if (this.#hasOlder(place)) this.#foundBy.set(key, place);
    return false;
  }

  end({ place }: RunningRead): void {
    if (this.#underWay.delete(place) && !this.#hasOlder(place)) this.#foundBy.clear();
  }

  #hasOlder(place: number): boolean {
    const [oldest = place] = this.#underWay;
    return oldest < place;
  }
}
