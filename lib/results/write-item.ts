import type { DatabaseError } from "../errors";
import type { BatchItem } from "../waiting/batcher";
import { Call, type Deadlines } from "../waiting/deadlines";

/**
 * What was stored after a call of this age at most may be replaced by its first attempt, which costs nothing to check.
 */
export const youngCallMs = 500;

/** Of two rows with the same key, the one that counts. */
export type MergeRows<Row> = (queued: Row, added: Row) => Row;

/**
 * A call that writes a row. Tells its item when it is rejected early, so that an item without calls can leave its
 * queue.
 */
export class WriteCall<Outcome> extends Call<Outcome> {
  /** When it was made, on the clock of `performance.now()`. */
  readonly madeAt: number;
  /** Changes when the item is merged into another. */
  item: Pick<WriteItem<unknown, Outcome>, "leave" | "lateError"> | undefined;

  constructor(deadlines: Deadlines, timeoutMs: number, late: () => Error) {
    super(deadlines, timeoutMs, late);
    this.madeAt = this.dueAt - timeoutMs;
  }

  override expire(reason?: unknown): void {
    super.expire(reason ?? this.item?.lateError?.());
    this.item?.leave();
  }
}

interface Candidate<Row, Outcome> {
  readonly row: Row;
  readonly call: WriteCall<Outcome>;
}

/** A row to write, with the calls that wait for it. Only rows of calls that still wait are written. */
export class WriteItem<Row, Outcome> implements BatchItem {
  readonly key: string;
  bytes: number;
  /** Attempts that have failed for this row alone. */
  failures = 0;
  /** Why an attempt failed that wrote this row apart from others. */
  lastError: DatabaseError | undefined;
  /** Whether it waits for its next attempt. */
  isResting = false;
  lateError: (() => Error) | undefined;
  /**
   * The server's time, in seconds since 1970, by which an earlier call of this process had written the row: it is not
   * newer than these calls, though it was written after them.
   */
  #follows = 0;
  readonly #abandon: (item: WriteItem<Row, Outcome>) => void;
  readonly #merge: MergeRows<Row>;
  #row: Row;
  /** The call that the row comes from. */
  #call: WriteCall<Outcome>;
  /** Rows that count if the calls before them are rejected first, such as one to keep after one that replaces. */
  #others: Candidate<Row, Outcome>[] | undefined;
  readonly #calls: WriteCall<Outcome>[];
  #open = 1;

  /** `abandon` is told once no call waits any more. */
  constructor(
    key: string,
    bytes: number,
    row: Row,
    call: WriteCall<Outcome>,
    merge: MergeRows<Row>,
    abandon: (item: WriteItem<Row, Outcome>) => void,
  ) {
    this.key = key;
    this.bytes = bytes;
    this.#row = row;
    this.#call = call;
    this.#calls = [call];
    this.#merge = merge;
    this.#abandon = abandon;
    call.item = this;
  }

  get row(): Row {
    return this.#row;
  }

  /** When the call that the row comes from was made. */
  get madeAt(): number {
    return this.#call.madeAt;
  }

  /** When the call that the row comes from is rejected. */
  get dueAt(): number {
    return this.#call.dueAt;
  }

  /**
   * The latest server's time, in seconds since 1970, at which a row may have been stored that this one replaces.
   * `upper` gives that of a local moment, in microseconds.
   */
  replacesUntil(upper: (localMs: number) => number): number {
    return Math.max(upper(this.madeAt) / 1e6, this.#follows);
  }

  /** Comes after a row of this process that had been written by a time of the server's. */
  follow(time: number): void {
    this.#follows = Math.max(this.#follows, time);
  }

  /** Whether any call still waits. */
  get isOpen(): boolean {
    return this.#open > 0;
  }

  /**
   * Takes over the calls of a later item of the same key. Changes this one: copying the calls each time took a minute
   * for 40 000 of them.
   */
  absorb(added: WriteItem<Row, Outcome>): this {
    this.#open += added.#open;
    this.follow(added.#follows);
    for (const call of added.#calls) {
      call.item = this;
      this.#calls.push(call);
    }
    const laterRows = [{ row: added.#row, call: added.#call }, ...(added.#others ?? [])];
    for (const candidate of laterRows) this.#consider(candidate);
    this.bytes = added.#row === this.#row ? added.bytes : this.bytes + added.bytes;
    return this;
  }

  resolve(outcome: Outcome): void {
    for (const call of this.#calls) call.resolve(outcome);
  }

  reject(error: unknown): void {
    for (const call of this.#calls) call.reject(error);
  }

  leave(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#abandon(this);
    else if (this.#calls.length > 64 && this.#open < this.#calls.length / 2) this.#forgetSettled();
    if (this.#open > 0 && this.#call.isSettled) this.#replaceRow();
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

  /** The row's own call has been rejected, so another call's row takes its place. */
  #replaceRow(): void {
    const [first, ...later] = (this.#others ?? []).filter(({ call }) => !call.isSettled);
    if (first === undefined) return;
    this.#row = first.row;
    this.#call = first.call;
    this.#others = undefined;
    for (const candidate of later) this.#consider(candidate);
  }

  /** Calls that were rejected would pile up where later ones keep the item queued. */
  #forgetSettled(): void {
    const open = this.#calls.filter((call) => !call.isSettled);
    this.#calls.splice(0, this.#calls.length, ...open);
  }
}

/**
 * Gives until when rows may have been stored that these replace, if one of their calls has waited for long: what was
 * stored later has to be left alone. `upper` gives the latest time that the server's clock can have shown, in
 * microseconds.
 */
export function calledTimes(
  items: readonly Pick<WriteItem<unknown, unknown>, "madeAt" | "replacesUntil">[],
  upper: (localMs: number) => number,
): number[] | undefined {
  const youngSince = performance.now() - youngCallMs;
  return items.some(({ madeAt }) => madeAt < youngSince) ? items.map((item) => item.replacesUntil(upper)) : undefined;
}
