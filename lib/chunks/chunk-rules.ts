import { randomUUID } from "node:crypto";
import type { Chunk, ChunkOptions, ChunkPosition, EmitOptions } from "../result-backend";
import { checkInteger, checkOptions, type OptionNames, typeName } from "../value/arguments";
import { checkSchema, decodeResult, type ResultSchema } from "../value/decoding";
import type { Codec } from "../value/encoding";

// Rules for chunks that hold wherever they are stored. sql/0004_chunks.sql has the same rules for all writers.

/** The database counts attempts in columns of the type `int`. */
export const maxAttempt = 2 ** 31 - 1;

const emitNames: OptionNames<EmitOptions> = { client: true, restart: true };
const chunkNames: OptionNames<ChunkOptions> = { after: true, schema: true };

/** A chunk to emit. */
export interface ChunkRow {
  readonly taskId: string;
  /** JSON text. */
  readonly text: string;
  /** Identifies the call, so that a retry does not emit the chunk again. */
  readonly callId: string;
  readonly isRestart: boolean;
  /** Null if the chunks never expire. */
  readonly ttlMs: number | null;
}

/** A chunk as it is stored. */
export interface StoredChunk extends ChunkPosition {
  /** JSON text; undefined for the start of another attempt, null if it is too large to be read. */
  readonly text: string | null | undefined;
}

/** What is stored of a task after a position. */
export interface ChunkPage {
  readonly taskId: string;
  /** The current attempt; 0 if the task has emitted nothing, or its chunks have expired. */
  readonly attempt: number;
  /** Number of the latest chunk of that attempt; 0 if it has none yet. */
  readonly sequence: number;
  /** The first chunks after the position, or from 1 if the position is in an earlier attempt. May be fewer than all. */
  readonly chunks: readonly { readonly sequence: number; readonly text: string | null }[];
  /** True if the task has a result. */
  readonly isFinished: boolean;
  /** The failure of the task, or the reason why it cannot be read. */
  readonly error?: Error | undefined;
}

/** Creates a row from what a caller gave. */
export function toChunkRow(taskId: string, text: string, options: EmitOptions, ttlMs: number): ChunkRow {
  checkOptions(options, emitNames);
  const { restart = false } = options;
  if (typeof (restart as unknown) !== "boolean")
    throw new TypeError(`restart: expected true or false, got ${typeName(restart)}.`);
  return { taskId, text, callId: randomUUID(), isRestart: restart, ttlMs: ttlMs === Infinity ? null : ttlMs };
}

/**
 * Converts a stored chunk to what callers receive.
 *
 * @throws {@link ResultEncodingError} The text is too large to be read.
 * @throws {@link ResultValidationError} The codec or the schema rejects the chunk.
 */
export function decodeChunk<T>(
  taskId: string,
  { text, ...position }: StoredChunk,
  codec: Codec | undefined,
  schema: ResultSchema<T> | undefined,
): Chunk<T> | Promise<Chunk<T>> {
  if (text === undefined) return { kind: "restart", attempt: position.attempt, sequence: 0 };
  const stored = { taskId, result: text ?? "null", error: null, storedAt: 0, isTooLarge: text === null };
  const value = decodeResult<T>(stored, codec, schema);
  const toChunk = (decoded: T): Chunk<T> => ({ kind: "chunk", ...position, value: decoded });
  return value instanceof Promise ? value.then(toChunk) : toChunk(value);
}

/** Checks the options of `chunks$`. */
export function toChunkOptions<T>(options: ChunkOptions<T> = {}): {
  readonly after: ChunkPosition;
  readonly schema: ResultSchema<T> | undefined;
} {
  checkOptions(options, chunkNames);
  checkSchema(options.schema);
  return { after: toPosition(options.after), schema: options.schema };
}

function toPosition(after: unknown = 0): ChunkPosition {
  if (typeof after === "number") {
    checkInteger(after, "after", 0);
    return { attempt: after === 0 ? 0 : 1, sequence: after };
  }
  if (typeof after !== "object" || after === null)
    throw new TypeError(`after: expected a number or { attempt, sequence }, got ${typeName(after)}.`);
  const { attempt, sequence } = after as Partial<ChunkPosition>;
  checkInteger(attempt, "after.attempt", 1, maxAttempt);
  checkInteger(sequence, "after.sequence", 0);
  return { attempt, sequence };
}

/**
 * Place of a reader in the chunks of a task. It only moves forward, so pages may come more than once, in any order, and
 * from snapshots of different age. Only {@link ChunkCursor.startOver} goes back.
 */
export class ChunkCursor {
  #position: ChunkPosition;
  /** False while there is nothing to discard at a restart. */
  #hasSeenAny: boolean;

  constructor(position: ChunkPosition) {
    this.#position = position;
    this.#hasSeenAny = position.attempt > 0;
  }

  get position(): ChunkPosition {
    return this.#position;
  }

  /**
   * Goes back to the start if a page shows less than has been seen: the stream was deleted, and the task may emit
   * another. The page must have been read after this position was reached.
   */
  startOver({ attempt, sequence }: ChunkPage): void {
    const { attempt: ownAttempt, sequence: ownSequence } = this.#position;
    if (attempt < ownAttempt || (attempt === ownAttempt && sequence < ownSequence))
      this.#position = { attempt: 0, sequence: 0 };
  }

  /** Returns what follows in a page, and moves behind it. */
  take({ attempt, chunks }: ChunkPage): StoredChunk[] {
    const taken: StoredChunk[] = [];
    if (attempt > this.#position.attempt && chunks[0]?.sequence === 1) {
      const restart = { attempt, sequence: 0, text: undefined };
      if (this.#hasSeenAny) taken.push(restart);
      this.#hasSeenAny = true;
      this.#position = restart;
    }
    if (attempt !== this.#position.attempt) return taken;
    for (const { sequence, text } of chunks) {
      if (sequence !== this.#position.sequence + 1) continue;
      this.#position = { attempt, sequence };
      taken.push({ attempt, sequence, text });
    }
    return taken;
  }

  /** Tells whether more was stored when a page was read than has been taken. */
  isBehind({ attempt, sequence }: ChunkPage): boolean {
    const { attempt: ownAttempt, sequence: ownSequence } = this.#position;
    // A task that is only expected has an attempt without chunks.
    return attempt === ownAttempt ? sequence > ownSequence : attempt > ownAttempt && sequence > 0;
  }
}
