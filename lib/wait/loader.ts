import type { Observable } from "rxjs";
import { type BatchItem, Batcher } from "../batcher";
import { type CallItem, QueuedCall } from "../call";
import { isRowRefusal } from "../database/backend-error";
import { isTransient, retryTransient } from "../database/retry";
import type { Deadlines } from "../deadlines";
import { DatabaseError, BackendClosedError } from "../errors";
import type { SchemaCheck } from "../schema/schema-check";
import { ReadOrder } from "./read-order";
import type { WakeCause } from "./router";

// A wake-up has few ids, a re-read of everything many: large enough that 100 000 open waits are re-read in 100 statements.
const maxIdsPerRead = 1_000;
const maxReadsInFlight = 2;
// Beyond it a feed that was interrupted finds what is new by looking.
const maxUnanswered = 10_000;

/** A key to read, with the reason and the calls that wait for it. */
class LoadItem<T> implements BatchItem, CallItem {
  readonly bytes = 0;
  readonly calls: QueuedCall<T | undefined>[] = [];
  /** Calls that have not been rejected. */
  #open = 0;

  constructor(
    readonly key: string,
    public cause: WakeCause,
    /** Whether it is read for those who watch the key, however many calls there are. */
    public isRequested: boolean,
    public isAnnounced: boolean,
    readonly abandon: (item: LoadItem<T>) => void,
  ) {}

  add(call: QueuedCall<T | undefined>): void {
    call.item = this;
    this.calls.push(call);
    this.#open += 1;
  }

  get isWanted(): boolean {
    return this.isRequested || this.#open > 0;
  }

  leave(): void {
    this.#open -= 1;
    if (this.#open === 0 && !this.isRequested) this.abandon(this);
  }

  /**
   * Takes over what another item of the same key was added for. The meaning of a notification survives: streams emit what it announces, and a sweep that meets one has caught
   * nothing. Changes this item: copying the calls each time took a minute for 40 000 of them.
   */
  absorb(added: LoadItem<T>): this {
    if (added.cause === "notification") this.cause = added.cause;
    this.isRequested ||= added.isRequested;
    this.isAnnounced ||= added.isAnnounced;
    for (const call of added.calls) this.add(call);
    return this;
  }
}

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
export type OnFound<T> = (key: string, found: Found<T>, reason: ReadReason) => void;
/** Called when a read failed for good: asking again will not help. `isTheirFault` if it is about these keys, and others could be read. */
export type OnDenied = (keys: readonly string[], error: Error, isTheirFault: boolean) => void;

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
  /** Reads what is stored under keys; those that are not there are left out. */
  readonly read: (keys: readonly string[], timeoutMs: number) => Promise<ReadAnswer<T>>;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly closed$: Observable<never>;
  readonly retryTimeoutMs: number;
  /** Told of the size of each statement; for telemetry. */
  readonly countBatch?: ((size: number) => void) | undefined;
  readonly onFound: OnFound<T>;
  /** Called after a statement that succeeds where the one before has failed. */
  readonly onRead?: () => void;
  /** Called for each key that a read did not find. */
  readonly onAbsent?: (key: string) => void;
  readonly onDenied: OnDenied;
  /** Called when a read was given up for now: those who watch its keys are still there, and nobody asks for them. */
  readonly onGivenUp?: (keys: readonly string[], error: Error) => void;
}

/**
 * Reads what is stored under keys, many in one statement. A key that is asked for while a read of it is under way is read once more after it: the read under way may have begun
 * before the commit that the asker was told of.
 */
export class Loader<T> {
  readonly #parts: LoaderParts<T>;
  readonly #batcher: Batcher<LoadItem<T>>;
  readonly #order = new ReadOrder();
  /** Announced keys whose reads were given up: the notification does not come again, so its meaning is kept. */
  readonly #unanswered = new Map<string, WakeCause>();
  #reads = 0;
  #retries = 0;
  #lastError: DatabaseError | undefined;
  /** When the database ceased to answer, on the clock of `performance.now()`; undefined while it does. */
  #silentSince: number | undefined;

  constructor(parts: LoaderParts<T>) {
    this.#parts = parts;
    this.#batcher = new Batcher<LoadItem<T>>({
      maxItems: maxIdsPerRead,
      maxBytes: Infinity,
      inFlight: maxReadsInFlight,
      exclusiveKeys: false,
      merge: (queued, added) => queued.absorb(added),
      run: async (items) => {
        const place = this.#order.begin();
        await this.#run(items, place);
        this.#order.end(place);
      },
    });
  }

  /** Nobody waits for the item any more. */
  readonly #abandon = (item: LoadItem<T>): void => this.#batcher.remove(item);

  get counters(): ReadCounters {
    const { queued, inFlight } = this.#batcher;
    return { statements: this.#reads, retries: this.#retries, queued, inFlight };
  }

  /** Why the latest read failed; undefined once one has succeeded. */
  get lastError(): DatabaseError | undefined {
    return this.#lastError;
  }

  /** Reads a key for whoever watches it; `onFound` hears if it is there. */
  request(key: string, cause: WakeCause, isAnnounced = false): void {
    this.#batcher.add(new LoadItem<T>(key, cause, true, isAnnounced, this.#abandon));
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
    const call = new QueuedCall<T | undefined>(deadlines, retryTimeoutMs, late);
    const item = new LoadItem<T>(key, cause, false, false, this.#abandon);
    item.add(call);
    this.#batcher.add(item);
    return call.promise;
  }

  async drain(): Promise<void> {
    await this.#batcher.drain();
  }

  /** Reads keys in one statement; if one of them is at fault, in halves, until it is alone and nobody else hears of it. */
  async #run(items: readonly LoadItem<T>[], place: number): Promise<void> {
    try {
      const { found, unsent } = await this.#read(items.map(({ key }) => key));
      if (this.#lastError !== undefined) this.#parts.onRead?.();
      this.#lastError = undefined;
      this.#silentSince = undefined;
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
      if (unsent !== undefined) await this.#runUnsent(items, unsent, place);
    } catch (error) {
      // Such as an id with characters that the encoding of the database does not have.
      const isTheirFault = isRowRefusal(error);
      if (isTheirFault && items.length > 1) {
        const middle = items.length >> 1;
        await this.#run(items.slice(0, middle), place);
        await this.#run(items.slice(middle), place);
        return;
      }
      if (isTransient(error)) this.#noteFailure(error);
      for (const { calls } of items) for (const call of calls) call.reject(error);
      // After an outage the waiters are still there, and the next sweep asks for them.
      const keys = items.map(({ key }) => key);
      if (isTransient(error)) {
        this.#keepAnnounced(items);
        this.#parts.onGivenUp?.(keys, error);
      }
      if (isTransient(error) || error instanceof BackendClosedError) return;
      this.#parts.onDenied(keys, error as Error, isTheirFault);
    }
  }

  /** Reads what had no room, one piece after another, each with a deadline of its own: so many large values arrive one by one. */
  async #runUnsent(
    items: readonly LoadItem<T>[],
    unsent: readonly (readonly string[])[],
    place: number,
  ): Promise<void> {
    const itemsByKey = new Map(items.map((item) => [item.key, item]));
    for (const keys of unsent) {
      const piece = keys.flatMap((key) => itemsByKey.get(key) ?? []).filter((item) => item.isWanted);
      if (piece.length > 0) await this.#run(piece, place);
    }
  }

  #keepAnnounced(items: readonly LoadItem<T>[]): void {
    for (const { key, cause, isAnnounced } of items)
      if (isAnnounced && this.#unanswered.size < maxUnanswered) this.#unanswered.set(key, cause);
  }

  #read(keys: readonly string[]): Promise<ReadAnswer<T>> {
    const { read, schemaCheck, closed$, retryTimeoutMs } = this.#parts;
    const send = (attemptMs: number): Promise<ReadAnswer<T>> => {
      this.#reads += 1;
      this.#parts.countBatch?.(keys.length);
      return read(keys, attemptMs);
    };
    const attempt = (attemptMs: number): Promise<ReadAnswer<T>> =>
      schemaCheck.isGood ? send(attemptMs) : schemaCheck.pass(attemptMs).then(() => send(attemptMs));
    // An outage that has lasted for as long as a read is retried rejects further reads at their first failure. Otherwise
    // callers that read one after another would each wait for the whole time.
    if (this.#silentSince !== undefined && performance.now() - this.#silentSince >= retryTimeoutMs)
      return attempt(retryTimeoutMs / 2);
    const onRetry = (error: DatabaseError): void => {
      this.#noteFailure(error);
      this.#retries += 1;
    };
    return retryTransient(attempt, { dueAt: performance.now() + retryTimeoutMs, closed$, onRetry });
  }

  #noteFailure(error: DatabaseError): void {
    this.#lastError = error;
    if (error.origin !== "statement") this.#silentSince ??= performance.now();
  }
}
