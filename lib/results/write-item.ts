import type { DatabaseError } from "../errors";
import type { BatchItem } from "../waiting/batcher";
import { Call, type Deadlines } from "../waiting/deadlines";

/** Age up to which the first attempt of a call overwrites any row without checking which is newer. */
export const youngCallMs = 500;

/** Returns the one of two rows with the same key that counts. */
export type MergeRows<Row> = (queued: Row, added: Row) => Row;

/**
 * A call that writes a row. Notifies its item when it is rejected early, so that an item without calls can leave its
 * queue.
 */
export class WriteCall<Outcome> extends Call<Outcome> {
  /** Time of the call, on the clock of `performance.now()`. */
  readonly madeAt: number;
  /** Changes when the item is merged into another. */
  item: Pick<WriteItem<never, never>, "leave" | "lateError"> | undefined;

  constructor(deadlines: Deadlines, timeoutMs: number, late: () => Error) {
    super(deadlines, timeoutMs, late);
    this.madeAt = this.dueAt - timeoutMs;
  }

  override expire(reason?: unknown): void {
    super.expire(reason);
    this.item?.leave();
  }

  protected override late(): Error {
    return this.item?.lateError?.() ?? super.late();
  }
}

/** What calls write under one key, and the calls that wait for it. Only what calls still wait for is written. */
export abstract class WriteItem<Row, Outcome> implements BatchItem {
  readonly key: string;
  bytes: number;
  /** Attempts that have failed for this row alone. */
  failures = 0;
  /** Error of the latest attempt that wrote this row separately. */
  lastError: DatabaseError | undefined;
  /** True while it waits for its next attempt. */
  isResting = false;
  lateError: (() => Error) | undefined;
  /** Number of calls that still wait. */
  protected open = 1;
  /**
   * Server time, in seconds since 1970, by which an earlier call of this process had written the row. That row does not
   * count as newer than these calls, although it may have been written after they were made.
   */
  #follows = 0;
  readonly #abandon: (item: WriteItem<Row, Outcome>) => void;

  /** `abandon` is called once no call waits any more. */
  protected constructor(key: string, bytes: number, abandon: (item: WriteItem<Row, Outcome>) => void) {
    this.key = key;
    this.bytes = bytes;
    this.#abandon = abandon;
  }

  abstract get row(): Row;
  /** Time of the call whose row it is. */
  abstract get madeAt(): number;
  /** Deadline of the call whose row it is. */
  abstract get dueAt(): number;

  /**
   * Latest server time, in seconds since 1970, of a row that this one may replace. `upper` returns the latest server
   * time at a local moment, in microseconds.
   */
  replacesUntil(upper: (localMs: number) => number): number {
    return Math.max(upper(this.madeAt) / 1e6, this.#follows);
  }

  /** Notes that an earlier call of this process had written the row by a server time. */
  follow(time: number): void {
    this.#follows = Math.max(this.#follows, time);
  }

  /** True while any call still waits. */
  get isOpen(): boolean {
    return this.open > 0;
  }

  /**
   * Takes over the calls of a later item of the same key. Changes this item in place, since copying the calls each time
   * took a minute for 40 000 of them.
   */
  absorb(added: WriteItem<Row, Outcome>): this {
    this.open += added.open;
    this.follow(added.#follows);
    return this;
  }

  abstract resolve(outcome: Outcome): void;
  abstract reject(error: unknown): void;

  /** Called when one of its calls was rejected early. */
  leave(): void {
    this.open -= 1;
    if (this.open === 0) this.#abandon(this);
  }
}

interface Candidate<Row, Outcome> {
  readonly row: Row;
  readonly call: WriteCall<Outcome>;
}

/** An outcome to write: of several calls, the row that counts. All calls get its outcome. */
export class OutcomeItem<Row, Outcome> extends WriteItem<Row, Outcome> {
  readonly #merge: MergeRows<Row>;
  #row: Row;
  /** The call whose row it is. */
  #call: WriteCall<Outcome>;
  /** Rows that take over if earlier calls are rejected first, such as one that keeps after one that replaces. */
  #others: Candidate<Row, Outcome>[] | undefined;
  readonly #calls: WriteCall<Outcome>[];

  constructor(
    key: string,
    bytes: number,
    row: Row,
    call: WriteCall<Outcome>,
    merge: MergeRows<Row>,
    abandon: (item: WriteItem<Row, Outcome>) => void,
  ) {
    super(key, bytes, abandon);
    this.#row = row;
    this.#call = call;
    this.#calls = [call];
    this.#merge = merge;
    call.item = this;
  }

  override get row(): Row {
    return this.#row;
  }

  override get madeAt(): number {
    return this.#call.madeAt;
  }

  override get dueAt(): number {
    return this.#call.dueAt;
  }

  override absorb(added: OutcomeItem<Row, Outcome>): this {
    super.absorb(added);
    for (const call of added.#calls) {
      call.item = this;
      this.#calls.push(call);
    }
    const laterRows = [{ row: added.#row, call: added.#call }, ...(added.#others ?? [])];
    for (const candidate of laterRows) this.#consider(candidate);
    this.bytes = added.#row === this.#row ? added.bytes : this.bytes + added.bytes;
    return this;
  }

  override resolve(outcome: Outcome): void {
    for (const call of this.#calls) call.resolve(outcome);
  }

  override reject(error: unknown): void {
    for (const call of this.#calls) call.reject(error);
  }

  override leave(): void {
    super.leave();
    if (!this.isOpen) return;
    if (this.#calls.length > 64 && this.open < this.#calls.length / 2) this.#forgetSettled();
    if (this.#call.isSettled) this.#replaceRow();
  }

  #consider(candidate: Candidate<Row, Outcome>): void {
    if (this.#merge(this.#row, candidate.row) === this.#row) {
      (this.#others ??= []).push(candidate);
      return;
    }
    this.#row = candidate.row;
    this.#call = candidate.call;
    this.#others = undefined;
  }

  /** Replaces the row after its call was rejected by that of another call. */
  #replaceRow(): void {
    const [first, ...later] = (this.#others ?? []).filter(({ call }) => !call.isSettled);
    if (first === undefined) return;
    this.#row = first.row;
    this.#call = first.call;
    this.#others = undefined;
    for (const candidate of later) this.#consider(candidate);
  }

  /** Removes rejected calls, which would otherwise accumulate while later calls keep the item queued. */
  #forgetSettled(): void {
    const open = this.#calls.filter((call) => !call.isSettled);
    this.#calls.splice(0, this.#calls.length, ...open);
  }
}

/**
 * Returns the latest times of rows that these may replace, if one of their calls has waited for long; results stored
 * later must not be overwritten. `upper` returns the latest server time at a local moment, in microseconds.
 */
export function calledTimes(
  items: readonly Pick<WriteItem<unknown, unknown>, "madeAt" | "replacesUntil">[],
  upper: (localMs: number) => number,
): number[] | undefined {
  const youngSince = performance.now() - youngCallMs;
  return items.some(({ madeAt }) => madeAt < youngSince) ? items.map((item) => item.replacesUntil(upper)) : undefined;
}
