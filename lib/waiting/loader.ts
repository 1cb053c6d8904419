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

/** Why a key was read: all the requests that one read answers, taken together. */
export interface ReadReason {
  /** `notification` if any of the requests came from one, else the cause of the first. */
  readonly cause: WakeCause;
  /** Set if any of the requests came from a notification that announces a new value. */
  readonly isAnnounced: boolean;
  /** Set if a read that began later has found the key already, so that this value may be the older one. */
  readonly isOvertaken: boolean;
}

/** Receives what the reads of a {@link Loader} found. */
export interface LoadReceiver<T> {
  readonly read: ReadKeys<T>;
  /** Comes before the calls for the key are answered. An overtaken value comes only if it was announced. */
  found(key: string, found: Found<T>, reason: ReadReason): void;
  absent(key: string): void;
  /** The read failed, and repeating it cannot help. `isRowFault`: other keys could be read. */
  denied(keys: readonly string[], error: Error, isRowFault: boolean): void;
  /** The read failed for now, and no one repeats it. `isUrgent`: the keys have not failed often. */
  givenUp(keys: readonly string[], error: DatabaseError, isUrgent: boolean): void;
  /** A statement succeeded after one that failed. */
  recovered(): void;
}

export interface LoaderLimits extends ReadLimits {
  readonly deadlines: Deadlines;
}

/** Reads since the backend was made. */
export interface ReadCounters {
  readonly statements: number;
  readonly retries: number;
  /** Ids that wait for a statement to ask for them. */
  readonly queued: number;
  /** Statements under way. */
  readonly inFlight: number;
}

interface Item<T> extends BatchItem {
  cause: WakeCause;
  isAnnounced: boolean;
  /** Set if the key is read for its watchers, however many calls there are. */
  isWatched: boolean;
  readonly calls: Call<T | undefined>[];
}

/**
 * Reads what is stored under keys, many in one statement. A key that is requested while a read of it is under way is
 * read once more: the read under way may have begun before the commit in question. Rows that make a read slow, or make
 * the server refuse it, are read apart from the others.
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

  /** Why the latest read failed; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#attempts.lastError;
  }

  /** Reads a key for its watchers. */
  request(key: string, cause: WakeCause, isAnnounced = false): void {
    this.#add({ key, bytes: 0, cause, isAnnounced, isWatched: true, calls: [] });
  }

  /** Reads a key for the caller; `undefined` if nothing is there. Rejects after `retryTimeoutMs` at the latest. */
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
        const place = this.#order.begin();
        await this.#run(items, place, lane);
        this.#order.end(place);
      },
    });
  }

  #add(item: Item<T>): void {
    this.#batchers[this.#quarantine.laneOf(item.key)].add(item);
  }

  /** Reads keys in one statement. If one of them is at fault they are read apart, until it alone is concerned. */
  async #run(queued: readonly Item<T>[], place: number, lane: Lane): Promise<void> {
    const items = this.#stayingIn(lane, queued.filter(isWanted));
    if (items.length === 0) return;
    const keys = items.map(({ key }) => key);
    try {
      const limitMs = this.#quarantine.limitOf(keys);
      const answer = await (limitMs === undefined
        ? this.#attempts.read(keys)
        : this.#attempts.readLimited(keys, limitMs));
      if (this.lastError !== undefined) this.#receiver.recovered();
      this.#attempts.noteSuccess();
      this.#quarantine.release(keys);
      this.#answer(items, answer, place);
    } catch (error) {
      if (this.#separate(keys, error, lane)) for (const item of items) this.#add(item);
      else this.#fail(items, error as Error);
    }
  }

  /** Returns the items that are still to be read in a lane. The others have changed lanes while they were queued. */
  #stayingIn(lane: Lane, items: readonly Item<T>[]): readonly Item<T>[] {
    const leaving = new Set(items.filter(({ key }) => this.#quarantine.laneOf(key) !== lane));
    for (const item of leaving) this.#add(item);
    return leaving.size === 0 ? items : items.filter((item) => !leaving.has(item));
  }

  #answer(items: readonly Item<T>[], { found, unsent = [], large = [] }: ReadAnswer<T>, place: number): void {
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
        // A read can return after one that began later, with an older snapshot: a group would go back. A call counts
        // all the same.
        const isOvertaken = this.#order.isOvertaken(place, key) && calls.length === 0;
        if (!isOvertaken || isAnnounced) this.#receiver.found(key, row, { cause, isAnnounced, isOvertaken });
      }
      for (const call of calls) call.resolve(row?.value);
    }
  }

  /** Tells whether keys whose read failed can be read in other ways. */
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

/** Tells whether a key is still to be read: not once all calls for it have been rejected. */
function isWanted<T>({ isWatched, calls }: Item<T>): boolean {
  return isWatched || calls.some(({ isSettled }) => !isSettled);
}

/**
 * Combines an item with one of the same key that is queued. The meaning of a notification survives: streams emit what
 * it announces, and a sweep that meets one has caught nothing. Changes the queued item, since copying the calls each
 * time took a minute for 40 000 of them.
 */
function merge<T>(queued: Item<T>, added: Item<T>): Item<T> {
  if (added.cause === "notification") queued.cause = added.cause;
  queued.isWatched ||= added.isWatched;
  queued.isAnnounced ||= added.isAnnounced;
  for (const call of added.calls) queued.calls.push(call);
  return queued;
}

/** Tells which of several reads of a key is the latest. Remembers keys only while an older read is under way. */
class ReadOrder {
  /** In the order in which they began. */
  readonly #underWay = new Set<number>();
  /** The latest read that found a key. */
  readonly #foundBy = new Map<string, number>();
  #begun = 0;

  /** Returns the place of a read that begins now. */
  begin(): number {
    this.#begun += 1;
    this.#underWay.add(this.#begun);
    return this.#begun;
  }

  /** Notes that a read found a key. Returns whether one that began later has found it before. */
  isOvertaken(place: number, key: string): boolean {
    if ((this.#foundBy.get(key) ?? 0) > place) return true;
    if (this.#hasOlder(place)) this.#foundBy.set(key, place);
    return false;
  }

  end(place: number): void {
    this.#underWay.delete(place);
    if (!this.#hasOlder(place)) this.#foundBy.clear();
  }

  #hasOlder(place: number): boolean {
    const [oldest = place] = this.#underWay;
    return oldest < place;
  }
}
