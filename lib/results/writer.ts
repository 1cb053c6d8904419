import type { Database, Query } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, isError, ResultEncodingError } from "../errors";
import type { ResolvedOptions } from "../options";
import type { SqlClient } from "../result-backend";
import { BatchedWrites } from "./batched-writes";
import { writePlainly } from "./plain-failure";
import { attemptTimeoutMs, type WriteCounters, type WriteParts } from "./write-rules";
import { StoreStatements } from "./store-statements";
import type { StoreRow } from "./store-row";
import { type FailureColumns, toDriverError } from "./write-errors";

export interface WriterParts extends WriteParts {
  readonly database: Database;
  readonly isTracing: boolean;
}

/** Stores outcomes of tasks. */
export class Writer {
  readonly #database: Database;
  readonly #writes: BatchedWrites<StoreRow, undefined>;
  readonly #statements: StoreStatements;

  constructor(parts: WriterParts) {
    const { options, database, isTracing } = parts;
    this.#database = database;
    const { schema, inlineResultBytes } = options;
    const statements = new StoreStatements({
      schema,
      inlineResultBytes,
      isTracing,
      rowLockTimeoutMs: rowLockTimeoutMs(options),
      lockTimeoutMs: writeLockTimeoutMs(options),
    });
    this.#statements = statements;
    this.#writes = new BatchedWrites(parts, {
      what: "results",
      merge: (queued, added) => (added.keep ? queued : added),
      split: (row) => (row.keep ? "keep" : "replace"),
      send: (rows, attempt) => {
        let isGuarded = false;
        const whenSent = (): Query | undefined => {
          const calledAt = rows[0]?.keep === true ? undefined : attempt.calledAt();
          isGuarded = calledAt !== undefined;
          return calledAt && statements.older(rows, attempt, calledAt);
        };
        const query = { ...statements.first(rows, attempt), whenSent };
        return database
          .query<[isInTime: string, writtenBy: string, ids?: string]>(query, attempt.timeoutMs)
          .then(([answer]) => ({ outcomes: rows.map(() => undefined), times: timesOf(rows, answer, isGuarded) }));
      },
      sendEach: async (rows, attempt) => {
        const query = statements.each(rows, attempt);
        const outcomes = rows.map((): undefined | Error => undefined);
        const times = rows.map((): undefined | number => undefined);
        type Columns = [place: number, writtenBy: string, ...FailureColumns];
        for (const [place, writtenBy, ...columns] of await database.query<Columns>(query, attempt.timeoutMs))
          if (columns[0] === null) times[place - 1] = Number(writtenBy) / 1e6;
          else outcomes[place - 1] = database.wrap(toDriverError(columns), query.purpose);
        return { outcomes, times };
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
    return writePlainly(row, (written) => {
      const bytes = Buffer.byteLength(written.result) + Buffer.byteLength(written.error ?? "");
      return this.#writes.write(written.taskId, bytes, written);
    });
  }

  /** Stores by a client of the caller's: at once, once, and as part of whatever transaction it is in. */
  async storeWith(client: SqlClient, row: StoreRow): Promise<void> {
    const query = this.#statements.forCaller(row);
    try {
      await client.query(query.text, [...query.values]);
    } catch (error) {
      throw encodingError(this.#database.wrap(error, query.purpose), row.taskId);
    }
  }

  async drain(endsAt?: number): Promise<void> {
    await this.#writes.drain(endsAt);
  }

  close(): void {
    this.#writes.close();
  }
}

/** When rows were written. A guarded statement says which of many, and gives no row for one that stays as it is. */
function timesOf(
  rows: readonly StoreRow[],
  answer: [isInTime: string, writtenBy: string, ids?: string] | undefined,
  isGuarded: boolean,
): (number | undefined)[] {
  if (answer === undefined) return rows.map(() => undefined);
  const time = Number(answer[1]) / 1e6;
  if (!isGuarded || rows.length === 1) return rows.map(() => time);
  const written = new Set(JSON.parse(answer[2] ?? "[]") as string[]);
  return rows.map(({ taskId }) => (written.has(taskId) ? time : undefined));
}

/** Long enough for any usual lock; short enough to be over before the client gives an attempt up. */
export const writeLockTimeoutMs = (options: ResolvedOptions): number => attemptTimeoutMs(options) / 2;

/** Of the first statement for rows, which holds up all of them: a row that is locked for longer is waited for besides. */
export const rowLockTimeoutMs = (options: ResolvedOptions): number => Math.min(1_000, writeLockTimeoutMs(options));

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
  const reason = isError(error.cause) ? error.cause.message : error.message;
  return new ResultEncodingError(taskId, `Postgres cannot hold it as jsonb (${reason})`, { cause: error });
}
