import type { Database, Query } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, ResultEncodingError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { SqlClient } from "../result-backend";
import { BatchedWrites, type WriteCounters, type WriteParts } from "./batched-writes";
import { type StoreVariant, storeStatement } from "./statements";

/** One outcome to store. */
export interface StoreRow {
  readonly taskId: string;
  /** JSON text; `null` for a failure. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** null: never expires. */
  readonly ttlMs: number | null;
  readonly keep: boolean;
  /** The span that stores it, as a W3C `traceparent`; only with tracing. */
  readonly traceContext?: string | null;
}

export interface WriterParts extends WriteParts {
  readonly database: Database;
  readonly isTracing: boolean;
}

/** Stores outcomes of tasks. */
export class Writer {
  readonly #database: Database;
  readonly #writes: BatchedWrites<StoreRow, undefined>;
  readonly #callersTexts: StoreTexts;
  readonly #isTracing: boolean;

  constructor(parts: WriterParts) {
    const { options, database, isTracing: traced } = parts;
    this.#database = database;
    this.#isTracing = traced;
    const textsOf = (variant: Omit<StoreVariant, "inlineBytes" | "keep" | "traced">): StoreTexts => {
      const shared = { ...variant, traced, inlineBytes: options.inlineResultBytes };
      return {
        replace: storeStatement(options.schema, { ...shared, keep: false }),
        keep: storeStatement(options.schema, { ...shared, keep: true }),
      };
    };
    const lockTimeoutMs = writeLockTimeoutMs(options);
    const [loud, silent] = [textsOf({ silent: false, lockTimeoutMs }), textsOf({ silent: true, lockTimeoutMs })];
    // In a caller's transaction only the trigger knows when, and whether, it commits.
    this.#callersTexts = textsOf({ silent: false, lockTimeoutMs: undefined });
    this.#writes = new BatchedWrites(parts, {
      what: "results",
      merge: (queued, added) => (added.keep ? queued : added),
      split: modeOf,
      send: async (rows, isSilent, timeoutMs) => {
        const [first] = rows;
        const texts = isSilent ? silent : loud;
        if (first !== undefined) await database.query(storeQuery(texts[modeOf(first)], rows, traced), timeoutMs);
        return rows.map(() => undefined);
      },
      announce: (rows, announcer) =>
        announcer.announce(
          "ids",
          rows.map(({ taskId }) => taskId),
        ),
      rowError: (error, row) => encodingError(error, row.taskId),
    });
  }

  get counters(): WriteCounters {
    return this.#writes.counters;
  }

  store(row: StoreRow): Promise<void> {
    return this.#writes.write(row.taskId, Buffer.byteLength(row.result) + Buffer.byteLength(row.error ?? ""), row);
  }

  /** Stores by a client of the caller's: at once, once, and as part of whatever transaction it is in. */
  async storeWith(client: SqlClient, row: StoreRow): Promise<void> {
    const query = storeQuery(this.#callersTexts[modeOf(row)], [row], this.#isTracing);
    try {
      await client.query(query.text, [...query.values]);
    } catch (error) {
      throw encodingError(this.#database.wrap(error, query.purpose), row.taskId);
    }
  }

  async drain(): Promise<void> {
    await this.#writes.drain();
  }
}

type StoreTexts = Readonly<Record<"replace" | "keep", string>>;

/** Long enough for any usual lock; short enough to be over before the client gives an attempt up, which takes half the time. */
export const writeLockTimeoutMs = ({ retryTimeoutMs }: ResolvedOptions): number => retryTimeoutMs / 4;

const modeOf = (row: StoreRow): "replace" | "keep" => (row.keep ? "keep" : "replace");

function storeQuery(text: string, rows: readonly StoreRow[], isTracing: boolean): Query {
  const values: unknown[] = [
    rows.map((row) => row.taskId),
    rows.map((row) => row.result),
    rows.map((row) => row.error),
    rows.map((row) => row.ttlMs),
  ];
  if (isTracing) values.push(rows.map((row) => row.traceContext ?? null));
  return { purpose: "store results", text, values, isPrepared: true };
}

const encodingStates: ReadonlySet<string | undefined> = new Set([
  "22P02", // invalid_text_representation
  "22P05", // untranslatable_character
  "22003", // numeric_value_out_of_range
  sqlStates.programLimitExceeded,
  sqlStates.statementTooComplex,
]);

/** What jsonb turned out not to hold, for a reason that is not checked here (depth, number of keys, the server's encoding), is the value's fault. */
export function encodingError(error: unknown, taskId: string): unknown {
  if (!(error instanceof DatabaseError) || !encodingStates.has(error.sqlState)) return error;
  const reason = error.cause instanceof Error ? error.cause.message : error.message;
  return new ResultEncodingError(taskId, `Postgres cannot hold it as jsonb (${reason})`, { cause: error });
}
