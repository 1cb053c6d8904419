import type { Query } from "../database/database";
import type { SqlClient } from "../result-backend";
import {
  type EachAttempt,
  fencedWrite,
  type FirstAttempt,
  type GuardedRow,
  type WriteParts,
  type Written,
} from "./attempts";
import { BatchedWriter } from "./batched-writer";
import { rowLockTimeoutMs, writeLockTimeoutMs } from "./limits";
import { resultStatements } from "./statements";
import type { StoreRow } from "./store-row";
import { StoreStatements } from "./store-statements";
import { encodingError, type FailureColumns, toDriverError, writePlainly } from "./write-errors";

export interface WriterParts extends WriteParts {
  readonly isTracing: boolean;
}

/** Stores outcomes of tasks. */
export class Writer extends BatchedWriter<StoreRow, undefined> {
  protected override readonly what = "results";
  readonly #statements: StoreStatements;
  readonly #deletion: string;

  constructor(parts: WriterParts) {
    super(parts);
    const { options, isTracing } = parts;
    this.#deletion = resultStatements(options).delete;
    this.#statements = new StoreStatements({
      schema: options.schema,
      inlineResultBytes: options.inlineResultBytes,
      isTracing,
      rowLockTimeoutMs: rowLockTimeoutMs(options),
      lockTimeoutMs: writeLockTimeoutMs(options),
    });
  }

  store(row: StoreRow): Promise<void> {
    return writePlainly(row, (written) => {
      const bytes = Buffer.byteLength(written.result) + Buffer.byteLength(written.error ?? "");
      return this.write(written.taskId, bytes, written);
    });
  }

  /** Stores by a client of the caller's: at once, once, and as part of whatever transaction it is in. */
  async storeWith(client: SqlClient, row: StoreRow): Promise<void> {
    const query = this.#statements.forCaller(row);
    try {
      await client.query(query.text, [...query.values]);
    } catch (error) {
      throw encodingError(this.parts.database.wrap(error, query.purpose), row.taskId);
    }
  }

  /**
   * Deletes one result; tells whether it was there. Retried if transient: asked twice, a deletion whose answer was lost
   * says `false`.
   */
  async delete(taskId: string, client?: SqlClient): Promise<boolean> {
    const { database, options } = this.parts;
    const query = { purpose: "delete a result", text: this.#deletion };
    if (client !== undefined) {
      try {
        // The caller decides until when its transaction may write.
        return (await client.query(query.text, [taskId, Infinity, null])).rows.length > 0;
      } catch (error) {
        throw database.wrap(error, query.purpose);
      }
    }
    const rows = await fencedWrite(this.parts, options.retryTimeoutMs, async (attempt) => {
      const whenSent = (): Query => ({ ...query, values: [taskId, attempt.giveUpAt, attempt.guardedFrom()] });
      return database.query({ ...query, values: [], whenSent }, attempt.timeoutMs);
    });
    return rows.length > 0;
  }

  protected override merge(queued: StoreRow, added: StoreRow): StoreRow {
    return added.keep ? queued : added;
  }

  protected override kindOf({ keep }: StoreRow): string {
    return keep ? "keep" : "replace";
  }

  protected override send(rows: readonly StoreRow[], attempt: FirstAttempt): Promise<Written<undefined>> {
    let replacesOlder = false;
    const whenSent = (): Query | undefined => {
      const calledAt = rows[0]?.keep === true ? undefined : attempt.calledAt();
      replacesOlder = calledAt !== undefined;
      return calledAt && this.#statements.older(rows, attempt, calledAt);
    };
    const query = { ...this.#statements.first(rows, attempt), whenSent };
    return this.parts.database
      .query<Answer>(query, attempt.timeoutMs)
      .then(([answer]) => ({ outcomes: rows.map(() => undefined), times: timesOf(rows, answer, replacesOlder) }));
  }

  protected override async sendEach(
    rows: readonly GuardedRow<StoreRow>[],
    attempt: EachAttempt,
  ): Promise<Written<undefined>> {
    const query = this.#statements.each(rows, attempt);
    const outcomes = rows.map((): undefined | Error => undefined);
    const times = rows.map((): undefined | number => undefined);
    type Columns = [place: number, writtenBy: string, ...FailureColumns];
    for (const [place, writtenBy, ...columns] of await this.parts.database.query<Columns>(query, attempt.timeoutMs))
      if (columns[0] === null) times[place - 1] = Number(writtenBy) / 1e6;
      else outcomes[place - 1] = this.parts.database.wrap(toDriverError(columns), query.purpose);
    return { outcomes, times };
  }

  protected override announce(rows: readonly StoreRow[], sent: { readonly notified: boolean }): void {
    const ids = rows.map(({ taskId }) => taskId);
    this.parts.announcements.announce("ids", ids, sent);
  }

  protected override rowError(error: unknown, row: StoreRow): unknown {
    return encodingError(error, row.taskId);
  }
}

type Answer = [isInTime: string, writtenBy: string, ids?: string];

/**
 * When rows were written. A statement that replaces older results says which of many it wrote, and gives no row for one
 * that stays as it is.
 */
function timesOf(
  rows: readonly StoreRow[],
  answer: Answer | undefined,
  replacesOlder: boolean,
): (number | undefined)[] {
  if (answer === undefined) return rows.map(() => undefined);
  const time = Number(answer[1]) / 1e6;
  if (!replacesOlder || rows.length === 1) return rows.map(() => time);
  const written = new Set(JSON.parse(answer[2] ?? "[]") as string[]);
  return rows.map(({ taskId }) => (written.has(taskId) ? time : undefined));
}
