import { isTransient } from "../database/retry";
import { TaskFinishedError } from "../errors";
import type { PayloadName } from "../notifications/payload";
import type { SqlClient } from "../result-backend";
import type { EachAttempt, FirstAttempt, WriteParts, Written } from "../results/attempts";
import { BatchedWriter, type WriteCounters } from "../results/batched-writer";
import { encodingError, type FailureColumns, toDriverError } from "../results/write-errors";
import { bytesOf, ChunkItem, type ChunkOutcomes, type ChunkRows } from "./chunk-item";
import type { ChunkRow } from "./chunk-rules";
import { type ChunkStatements, chunkStatements } from "./chunk-statements";

const purpose = "emit chunks";

/** Emits chunks, those of many tasks in one statement. The database numbers them. */
export class ChunkWriter extends BatchedWriter<ChunkRows, ChunkOutcomes> {
  protected override readonly what = "chunks";
  readonly #statements: ChunkStatements;
  /**
   * Numbers of chunks that are known although their calls wait for others of the same task. A restart may have deleted
   * such a chunk, so that the database no longer knows that it was emitted.
   */
  readonly #numbers = new WeakMap<ChunkRow, number>();
  #emitted = 0;

  constructor(parts: WriteParts) {
    super(parts);
    this.#statements = chunkStatements(parts.options);
  }

  override get counters(): WriteCounters {
    return { ...super.counters, rows: this.#emitted };
  }

  /** Resolves with the number of the chunk. */
  emit(row: ChunkRow, client?: SqlClient): Promise<number> {
    if (client !== undefined) return this.#emitWith(client, row);
    const call = this.createCall<number>();
    this.enqueue(new ChunkItem(row, call, this.abandon));
    return call.promise;
  }

  protected override kindOf(): string {
    return "chunk";
  }

  protected override async sendTogether(
    tasks: readonly ChunkRows[],
    attempt: FirstAttempt,
  ): Promise<Written<ChunkOutcomes>> {
    const endsAt = performance.now() + attempt.timeoutMs;
    const outcomes = new Map<string, number | Error>();
    const pieces = this.#piecesOf(tasks);
    for (const [index, rows] of pieces.entries()) {
      const values = [...valuesOf(rows), attempt.giveUpAt, attempt.notifies];
      const followUp = index === pieces.length - 1 ? attempt.followUp : undefined;
      const query = { purpose, text: this.#statements.emit, values, isPrepared: true, followUp };
      const leftMs = Math.max(1, endsAt - performance.now());
      const numbers = await this.parts.database.query<[sequence: string | null]>(query, leftMs);
      for (const [place, row] of rows.entries()) this.#note(outcomes, row, numbers[place]?.[0] ?? null);
    }
    return { outcomes: tasks.map(() => outcomes), times: [] };
  }

  protected override async sendEach({
    rows: tasks,
    limits,
    timeoutMs,
  }: EachAttempt<ChunkRows>): Promise<Written<ChunkOutcomes>> {
    const endsAt = performance.now() + timeoutMs;
    const [, dues, ...common] = limits as [called: number[], dues: number[], ...unknown[]];
    const dueAt = new Map(tasks.map(({ taskId }, index) => [taskId, dues[index]]));
    const outcomes = new Map<string, number | Error>();
    /** The errors of tasks whose chunks have to be emitted in another attempt. */
    const passing = new Map<string, Error>();
    for (const piece of this.#piecesOf(tasks)) {
      const rows = piece.filter(({ taskId }) => !passing.has(taskId));
      const values = [...valuesOf(rows), rows.map(({ taskId }) => dueAt.get(taskId)), ...common];
      const query = { purpose, text: this.#statements.emitEach, values };
      type Columns = [sequence: string | null, ...FailureColumns];
      const verdicts = await this.parts.database.query<Columns>(query, Math.max(1, endsAt - performance.now()));
      for (const [place, row] of rows.entries()) {
        const [sequence = null, ...failure] = verdicts[place] ?? [];
        const error = this.#errorOf(failure as FailureColumns);
        if (error === undefined) this.#note(outcomes, row, sequence);
        else if (isTransient(error)) passing.set(row.taskId, error);
        else outcomes.set(row.callId, encodingError(error, row.taskId) as Error);
      }
    }
    return { outcomes: tasks.map((task) => passing.get(task.taskId) ?? this.#complete(outcomes, task)), times: [] };
  }

  protected override announcementOf(tasks: readonly ChunkRows[]): [name: PayloadName, ids: readonly string[]] {
    return ["chunks", tasks.map(({ taskId }) => taskId)];
  }

  #errorOf(failure: FailureColumns): Error | undefined {
    return (failure[0] ?? null) === null ? undefined : this.parts.database.wrap(toDriverError(failure), purpose);
  }

  #note(outcomes: Map<string, number | Error>, row: ChunkRow, sequence: string | null): void {
    if (sequence === null) {
      outcomes.set(row.callId, new TaskFinishedError(row.taskId));
      return;
    }
    this.#emitted += 1;
    this.#numbers.set(row, Number(sequence));
    outcomes.set(row.callId, Number(sequence));
  }

  /** Adds the numbers of chunks that earlier attempts have emitted. */
  #complete(outcomes: Map<string, number | Error>, { rows }: ChunkRows): ChunkOutcomes {
    for (const row of rows) {
      const number = this.#numbers.get(row);
      if (number !== undefined) outcomes.set(row.callId, number);
    }
    return outcomes;
  }

  /**
   * Divides chunks that are not yet emitted among statements, since those of a single task may be more than a batch. A
   * restart begins another statement if it is not the first chunk of its task.
   */
  #piecesOf(tasks: readonly ChunkRows[]): readonly (readonly ChunkRow[])[] {
    const { maxRows, maxBytes } = this.parts.options.batch;
    const pieces: ChunkRow[][] = [];
    let piece: ChunkRow[] = [];
    let bytes = 0;
    for (const row of tasks.flatMap(({ rows }) => rows.filter((each) => !this.#numbers.has(each)))) {
      const isDivided = row.isRestart && piece.at(-1)?.taskId === row.taskId;
      if (piece.length === 0 || isDivided || piece.length >= maxRows || bytes + bytesOf(row) > maxBytes) {
        piece = [];
        bytes = 0;
        pieces.push(piece);
      }
      piece.push(row);
      bytes += bytesOf(row);
    }
    return pieces;
  }

  async #emitWith(client: SqlClient, row: ChunkRow): Promise<number> {
    const query = { purpose, text: this.#statements.emitForCaller, values: valuesOf([row]) };
    const [answer] = await this.parts.database.queryWith(client, query).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
    const sequence = (answer?.["sequence"] ?? null) as string | null;
    if (sequence === null) throw new TaskFinishedError(row.taskId);
    return Number(sequence);
  }
}

function valuesOf(rows: readonly ChunkRow[]): unknown[] {
  return [
    rows.map(({ taskId }) => taskId),
    rows.map(({ text }) => text),
    rows.map(({ callId }) => callId),
    rows.map(({ isRestart }) => isRestart),
    // Not null: with array_nulls = off, a session reads NULL in an array as the text 'NULL'.
    rows.map(({ ttlMs }) => ttlMs ?? -1),
  ];
}
