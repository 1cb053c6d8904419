import { Batcher } from "./batcher";
import { isRowRefusal, mayPass } from "../database/backend-error";
import { pause } from "../database/race";
import { isTransient, retryTransient } from "../database/retry";
import { Call, type Deadlines } from "./deadlines";
import { DatabaseError, BackendClosedError } from "../errors";
import type { SchemaCheck } from "../schema/schema-check";
import { LoadItem } from "./load-item";
import { ReadOrder } from "./read-order";
import type { WakeCause } from "./router";
import { type Lane, lanes, Suspects } from "./suspects";

/** How long the first attempts to read may take: then the connection may be dead, as others of its pool may be, or one of the rows is at fault. */
const shortAttemptMs = 2_000;
const shortAttempts = 2;
/** For how long all reads are sent with care after one of them was too slow. */
const carefulMs = 60_000;
/** How long a statement that meets no row may take on a server that is well. */
const probeTimeoutMs = 1_000;
// Beyond it a feed that was interrupted finds what is new by looking.
const maxUnanswered = 10_000;

/** What is stored under a key. */
export interface Found<T> {
  readonly value: T;
  /** Whether it was stored so long ago that a listener that hears would have told of it. */
  readonly isOld: boolean;
}

/** What one statement read. */
export interface ReadAnswer<T> {
  /** By key. Those that are not there are left out. */
  readonly found: ReadonlyMap<string, Found<T>>;
  /** Keys that are there, and have to be read again since they had no room in the answer: those of each group by a statement of their own. */
  readonly unsent?: readonly (readonly string[])[];
}

/** How a read is sent when one has been too slow: in the way that takes least of the server, whatever the rows are. */
export interface ReadCare {
  /** After which the server itself ends it. */
  readonly limitMs?: number | undefined;
}

/** Why a key was read: all the requests that one read answers, taken together. */
export interface ReadReason {
  /** `notification` if any of the requests came from one, else the cause of the first. */
  readonly cause: WakeCause;
  /** Whether any of the requests came from a notification that announces a new value. */
  readonly isAnnounced: boolean;
  /** Whether a read that began later has already found the key, so that this value may be the older one. */
  readonly isOvertaken: boolean;
}

/**
 * Receives what a read found: called for each id that is there, before the calls that asked for it are answered. An overtaken value is passed on only if it was announced.
 */
type OnFound<T> = (key: string, found: Found<T>, reason: ReadReason) => void;
/** Called when a read failed, and asking again will not help. `isTheirFault` if it is about these keys, and others could be read. */
type OnDenied = (keys: readonly string[], error: Error, isTheirFault: boolean) => void;

/** Reads since the backend was made. */
export interface ReadCounters {
  readonly statements: number;
  readonly retries: number;
  /** Ids that wait for a statement to ask for them. */
  readonly queued: number;
  /** Statements under way. */
  readonly inFlight: number;
}

export interface LoaderParts<T> {
  /** Reads what is stored under keys; those that are not there are left out. Without keys it does all but to meet a row. */
  readonly read: (keys: readonly string[], timeoutMs: number, care?: ReadCare) => Promise<ReadAnswer<T>>;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly closed: AbortSignal;
  readonly retryTimeoutMs: number;
  /** Told of the size of each statement; for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
  readonly onFound: OnFound<T>;
  /** Called after a statement that succeeds where the one before has failed. */
  readonly onRead?: () => void;
  /** Called for each key that a read did not find. */
  readonly onAbsent?: (key: string) => void;
  readonly onDenied: OnDenied;
  /** Called when a read was given up for now: those who watch its keys are still there, and nobody asks for them. `isUrgent`: they have not failed often. */
  readonly onGivenUp?: (keys: readonly string[], error: DatabaseError, isUrgent: boolean) => void;
}

/** A read failed that meets rows, while one that meets none succeeds. */
class SlowRowsError extends Error {
  override readonly name = "SlowRowsError";

  /** `probeMs`: what the read that meets no row took. */
  constructor(
    readonly probeMs: number,
    cause: DatabaseError,
  ) {
    super(cause.message, { cause });
  }
}

/**
 * Reads what is stored under keys, many in one statement. A key that is asked for while a read of it is under way is read once more after it: the read under way may have begun
 * before the commit that the asker was told of. Keys whose rows are at fault when a read fails are read apart from the others.
 */
export class Loader<T> {
  readonly #parts: LoaderParts<T>;
  readonly #batchers: Readonly<Record<Lane, Batcher<LoadItem<T>>>>;
  readonly #suspects: Suspects;
  readonly #order = new ReadOrder();
  /** Announced keys whose reads were given up: the notification does not come again, so its meaning is kept. */
  readonly #unanswered = new Map<string, WakeCause>();
  #reads = 0;
  #retries = 0;
  #lastError: DatabaseError | undefined;
  /** On the clock of `performance.now()`. */
  #carefulUntil = -Infinity;
  /** When the database ceased to answer, on the clock of `performance.now()`; undefined while it does. */
  #silentSince: number | undefined;

  constructor(parts: LoaderParts<T>) {
    this.#parts = parts;
    this.#suspects = new Suspects(this.#longestAttemptMs);
    const batcher = (lane: Lane): Batcher<LoadItem<T>> =>
      new Batcher<LoadItem<T>>({
        ...lanes[lane],
        maxBytes: Infinity,
        exclusiveKeys: false,
        merge: (queued, added) => queued.absorb(added),
        run: async (items) => {
          const place = this.#order.begin();
          await this.#run(items, place, lane);
          this.#order.end(place);
        },
      });
    this.#batchers = {
      together: batcher("together"),
      few: batcher("few"),
      alone: batcher("alone"),
      refused: batcher("refused"),
      patient: batcher("patient"),
    };
  }

  get counters(): ReadCounters {
    let [queued, inFlight] = [0, 0];
    for (const batcher of Object.values(this.#batchers)) {
      queued += batcher.queued;
      inFlight += batcher.inFlight;
    }
    return { statements: this.#reads, retries: this.#retries, queued, inFlight };
  }

  /** Why the latest read failed; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#lastError;
  }

  /** Reads a key for whoever watches it; `onFound` hears if it is there. */
  request(key: string, cause: WakeCause, isAnnounced = false): void {
    this.#add(new LoadItem<T>(key, cause, true, isAnnounced));
  }

  /** Reads once more what was announced and could not be read, as far as it `isWanted` still. */
  askAgain(isWanted: (key: string) => boolean): void {
    const unanswered = [...this.#unanswered];
    this.#unanswered.clear();
    for (const [key, cause] of unanswered) if (isWanted(key)) this.request(key, cause, true);
  }

  /** Reads a key for the caller; `undefined` if it is not there. Rejects after `retryTimeoutMs` at the latest. */
  async load(key: string, cause: WakeCause): Promise<T | undefined> {
    const { deadlines, retryTimeoutMs } = this.#parts;
    const late = (): Error =>
      new DatabaseError(`Could not read results: no answer within ${retryTimeoutMs} ms.`, undefined, true, {
        cause: this.#lastError,
      });
    const call = new Call<T | undefined>(deadlines, retryTimeoutMs, late);
    const item = new LoadItem<T>(key, cause, false, false);
    item.calls.push(call);
    this.#add(item);
    return call.promise;
  }

  async drain(): Promise<void> {
    await Promise.all(Object.values(this.#batchers).map(async (batcher) => batcher.drain()));
  }

  get #isCareful(): boolean {
    return performance.now() < this.#carefulUntil;
  }

  get #longestAttemptMs(): number {
    return this.#parts.retryTimeoutMs / 2;
  }

  #add(item: LoadItem<T>): void {
    this.#batchers[this.#suspects.laneOf(item.key)].add(item);
  }

  /** Reads keys in one statement; if one of them is at fault they are read apart, until it is alone and no other key is concerned. */
  async #run(queued: readonly LoadItem<T>[], place: number, lane: Lane): Promise<void> {
    // Calls can be rejected while their items are queued.
    const items = this.#withoutLeavers(
      queued.filter(({ isWanted }) => isWanted),
      lane,
    );
    if (items.length === 0) return;
    const keys = items.map(({ key }) => key);
    try {
      const answer = await (lane === "together" ? this.#read(keys) : this.#readApart(keys, lane));
      if (this.#lastError !== undefined) this.#parts.onRead?.();
      this.#lastError = undefined;
      this.#silentSince = undefined;
      this.#suspects.clear(keys, lane);
      this.#answer(items, answer, place);
      if (answer.unsent !== undefined)
        await this.#runUnsent(items, this.#withoutLarge(items, answer.unsent), place, lane);
    } catch (error) {
      if (!this.#separate(items, error, lane)) this.#fail(items, error as Error);
    }
  }

  /** Has keys read in their own lanes that have been put further apart since they were queued in this one. */
  #withoutLeavers(items: readonly LoadItem<T>[], lane: Lane): readonly LoadItem<T>[] {
    const staying = items.filter(({ key }) => !this.#suspects.hasLeft(key, lane));
    if (staying.length < items.length)
      for (const item of items) if (this.#suspects.hasLeft(item.key, lane)) this.#add(item);
    return staying;
  }

  #answer(items: readonly LoadItem<T>[], { found, unsent }: ReadAnswer<T>, place: number): void {
    const unsentKeys = new Set(unsent?.flat());
    for (const { key, cause, isAnnounced, calls } of items) {
      if (unsentKeys.has(key)) continue;
      const row = found.get(key);
      if (row === undefined) this.#parts.onAbsent?.(key);
      else {
        // A read may come back after one that began later, and have an older snapshot: a group would go back. The answer to a call counts all the same.
        const isOvertaken = this.#order.isOvertaken(place, key) && calls.length === 0;
        if (!isOvertaken || isAnnounced) this.#parts.onFound(key, row, { cause, isAnnounced, isOvertaken });
      }
      for (const call of calls) call.resolve(row?.value);
    }
  }

  /** While reads are sent with care, has what may be too large for the server read behind everything else. Gives the rest. */
  #withoutLarge(items: readonly LoadItem<T>[], unsent: readonly (readonly string[])[]): readonly (readonly string[])[] {
    if (!this.#isCareful) return unsent;
    const large = new Set(unsent.filter(({ length }) => length === 1).flat());
    this.#suspects.addLarge(large);
    for (const item of items) if (large.has(item.key)) this.#add(item);
    return unsent.filter(({ length }) => length > 1);
  }

  /** Reads what had no room, one piece after another, each with a deadline of its own: so many large values arrive one by one. */
  async #runUnsent(
    items: readonly LoadItem<T>[],
    unsent: readonly (readonly string[])[],
    place: number,
    lane: Lane,
  ): Promise<void> {
    const itemsByKey = new Map(items.map((item) => [item.key, item]));
    for (const keys of unsent) {
      const piece = keys.flatMap((key) => itemsByKey.get(key) ?? []).filter((item) => item.isWanted);
      if (piece.length > 0) await this.#run(piece, place, lane);
    }
  }

  /** Has keys that failed together read in smaller parts, or those that were too slow with more time. Tells whether that is possible. */
  #separate(items: readonly LoadItem<T>[], error: unknown, lane: Lane): boolean {
    const keys = items.map(({ key }) => key);
    const isSlow = error instanceof SlowRowsError || mayBeSlowRows(error, false);
    const isRefused = isRowRefusal(error);
    if (lane === "together") {
      if (error instanceof SlowRowsError) this.#suspects.add(keys, error.probeMs);
      else if (isRefused && items.length > 1) this.#suspects.add(keys, undefined);
      else return false;
    } else if (isSlow || (isRefused && items.length > 1)) {
      // All of them, whether or not each of them can be put further apart.
      if (keys.filter((key) => this.#suspects.isolate(key, isSlow)).length === 0) return false;
    } else if (isTransient(error)) this.#suspects.forget(keys);
    else return false;
    // In no order: keys at fault that were asked for one after another would look as if all were.
    for (const item of shuffled(items)) this.#add(item);
    return true;
  }

  #fail(items: readonly LoadItem<T>[], thrown: Error): void {
    const error = thrown instanceof SlowRowsError ? (thrown.cause as DatabaseError) : thrown;
    if (isTransient(error)) this.#noteFailure(error);
    for (const { calls } of items) for (const call of calls) call.reject(error);
    if (error instanceof BackendClosedError) return;
    const keys = items.map(({ key }) => key);
    if (mayPass(error)) {
      // The waiters are still there, and a sweep asks for them.
      this.#keepAnnounced(items);
      const urgent = keys.filter((key) => this.#suspects.fail(key));
      this.#parts.onGivenUp?.(keys, error, urgent.length > 0);
    } else this.#parts.onDenied(keys, error, isRowRefusal(error));
  }

  #keepAnnounced(items: readonly LoadItem<T>[]): void {
    for (const { key, cause, isAnnounced } of items)
      if (isAnnounced && this.#unanswered.size < maxUnanswered) this.#unanswered.set(key, cause);
  }

  #read(keys: readonly string[], isCareful = this.#isCareful): Promise<ReadAnswer<T>> {
    const { schemaCheck, closed, retryTimeoutMs } = this.#parts;
    let attempts = 0;
    const attempt = (attemptMs: number): Promise<ReadAnswer<T>> => {
      attempts += 1;
      const limitMs = attempts > shortAttempts ? attemptMs : Math.min(attemptMs, shortAttemptMs);
      const startedAt = performance.now();
      const sent = schemaCheck.isGood
        ? this.#send(keys, limitMs, isCareful)
        : schemaCheck.pass(limitMs).then(() => this.#send(keys, limitMs, isCareful));
      return sent.catch(async (error: unknown) => {
        const tookMs = performance.now() - startedAt;
        if (mayBeSlowRows(error, tookMs >= limitMs)) await this.#blameRows(error, limitMs);
        throw error;
      });
    };
    // An outage that has lasted for as long as a read is retried rejects further reads at their first failure. Otherwise
    // callers that read one after another would each wait for the whole time.
    if (this.#silentSince !== undefined && performance.now() - this.#silentSince >= retryTimeoutMs)
      return attempt(this.#longestAttemptMs);
    const onRetry = (error: DatabaseError): void => {
      this.#noteFailure(error);
      this.#retries += 1;
    };
    return retryTransient(attempt, { dueAt: performance.now() + retryTimeoutMs, signals: [closed], onRetry });
  }

  /** Throws another error in place of one if a read that meets no row succeeds. Otherwise nothing can be read, and parts would fare no better. */
  async #blameRows(error: DatabaseError, timeoutMs: number): Promise<void> {
    const startedAt = performance.now();
    try {
      await this.#send([], Math.min(timeoutMs, probeTimeoutMs), false);
    } catch {
      return;
    }
    this.#carefulUntil = performance.now() + carefulMs;
    throw new SlowRowsError(performance.now() - startedAt, error);
  }

  /** Reads keys that are kept apart from the others. */
  async #readApart(keys: readonly string[], lane: Lane): Promise<ReadAnswer<T>> {
    const { closed } = this.#parts;
    const pauseMs = this.#suspects.pauseOf(lane);
    if (pauseMs > 0) await pause(pauseMs, [closed]);
    const limitMs = this.#suspects.limitOf(keys);
    if (limitMs === undefined) return this.#read(keys, lane === "patient" || this.#isCareful);
    const attempt = async (): Promise<ReadAnswer<T>> => {
      const [startedAt, timeoutMs] = [performance.now(), limitMs + this.#longestAttemptMs];
      return this.#send(keys, timeoutMs, true, limitMs).catch((error: unknown) => {
        const tookMs = performance.now() - startedAt;
        // Such as a conversion that the server cannot interrupt.
        throw mayBeSlowRows(error, tookMs >= timeoutMs) && error.origin !== "statement"
          ? new SlowRowsError(tookMs, error)
          : error;
      });
    };
    return retryTransient(attempt, { dueAt: performance.now() + limitMs, signals: [closed] });
  }

  #send(keys: readonly string[], timeoutMs: number, isCareful: boolean, limitMs?: number): Promise<ReadAnswer<T>> {
    this.#reads += 1;
    this.#parts.countBatch?.(keys.length);
    return this.#parts.read(keys, timeoutMs, isCareful ? { limitMs } : undefined);
  }

  #noteFailure(error: DatabaseError): void {
    this.#lastError = error;
    if (error.origin !== "statement") this.#silentSince ??= performance.now();
  }
}

/** Whether a read may have failed for one of its rows, though it may succeed later: the server says so, or gave no answer in time. */
function mayBeSlowRows(error: unknown, isLate: boolean): error is DatabaseError {
  if (!isTransient(error)) return false;
  return error.origin === "statement" || (isLate && error.origin === "session" && error.sqlState === undefined);
}

function shuffled<Item>(items: readonly Item[]): readonly Item[] {
  if (items.length < 2) return items;
  return items
    .map((item) => [Math.random(), item] as const)
    .sort(([one], [other]) => one - other)
    .map(([, item]) => item);
}
