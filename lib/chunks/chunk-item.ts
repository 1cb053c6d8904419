import { type WriteCall, WriteItem } from "../results/write-item";
import type { ChunkRow } from "./chunk-rules";

/** The chunks of one task to emit, in order. */
export interface ChunkRows {
  readonly taskId: string;
  readonly rows: readonly ChunkRow[];
}

/** The number of each chunk, or its error, by the id of its call. */
export type ChunkOutcomes = ReadonlyMap<string, number | Error>;

interface Entry {
  readonly row: ChunkRow;
  readonly call: WriteCall<number>;
}

/** Bytes that a chunk takes beside its text. */
const overheadBytes = 100;

/** Queued chunks of one task: all of them are written, and each call gets the number of its own. */
export class ChunkItem extends WriteItem<ChunkRows, ChunkOutcomes> {
  #entries: Entry[];

  constructor(row: ChunkRow, call: WriteCall<number>, abandon: (item: WriteItem<ChunkRows, ChunkOutcomes>) => void) {
    super(row.taskId, bytesOf(row), abandon);
    this.#entries = [{ row, call }];
    call.item = this;
  }

  override get row(): ChunkRows {
    return { taskId: this.key, rows: this.#waiting.map(({ row }) => row) };
  }

  override get madeAt(): number {
    return this.#first?.madeAt ?? Infinity;
  }

  override get dueAt(): number {
    return this.#first?.dueAt ?? Infinity;
  }

  override absorb(added: ChunkItem): this {
    super.absorb(added);
    for (const entry of added.#entries) {
      entry.call.item = this;
      this.#entries.push(entry);
    }
    this.bytes += added.bytes;
    return this;
  }

  override resolve(outcomes: ChunkOutcomes): void {
    for (const { row, call } of this.#waiting) {
      const outcome = outcomes.get(row.callId);
      if (outcome instanceof Error) call.reject(outcome);
      else if (outcome !== undefined) call.resolve(outcome);
    }
  }

  override reject(error: unknown): void {
    for (const { call } of this.#entries) call.reject(error);
  }

  override leave(): void {
    super.leave();
    if (this.#entries.length > 64 && this.open < this.#entries.length / 2) this.#entries = this.#waiting;
  }

  get #waiting(): Entry[] {
    return this.#entries.filter(({ call }) => !call.isSettled);
  }

  /** The oldest call that waits, whose deadline is the first. */
  get #first(): WriteCall<number> | undefined {
    return this.#entries.find(({ call }) => !call.isSettled)?.call;
  }
}

export const bytesOf = ({ text }: ChunkRow): number => Buffer.byteLength(text) + overheadBytes;
